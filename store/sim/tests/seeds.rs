//! The store is safe in every run: 100 seeds, or as many as `MAINSTAY_SIM_SEEDS` says, or the one that `MAINSTAY_SIM_SEED` names.
#![allow(clippy::panic, clippy::print_stdout, reason = "a test fails by panicking, and tells what it did")]
use mainstay_store_sim::campaign::campaign;
use mainstay_store_sim::world::Report;

const SEEDS: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

/// Runs so many of a hundred seeds.
fn check(test: &str, members: usize, of_hundred: u64) {
    let seeds = match number("MAINSTAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..(number("MAINSTAY_SIM_SEEDS").unwrap_or(SEEDS) * of_hundred).div_ceil(100),
    };
    match campaign(seeds, members, None) {
        Ok(total) => println!("{members} members: {total}"),
        Err(report) => panic!("{}", failure(test, &report)),
    }
}

fn failure(test: &str, report: &Report) -> String {
    let shown: Vec<String> =
        report.problems.iter().take(5).map(|problem| problem.chars().take(3000).collect()).collect();
    format!(
        "seed {seed} of {members} members failed; to see it again:\n  MAINSTAY_SIM_SEED={seed} cargo nextest run -p mainstay-store-sim {test}\n{} problems, first:\n  {}\ntrace:\n  {}",
        report.problems.len(),
        shown.join("\n  "),
        report.trace.join("\n  "),
        seed = report.plan.seed,
        members = report.plan.members,
    )
}

#[test]
fn one_member_is_safe() {
    check("one_member_is_safe", 1, 76);
}

#[test]
fn three_members_are_safe() {
    check("three_members_are_safe", 3, 20);
}

#[test]
fn five_members_are_safe() {
    check("five_members_are_safe", 5, 4);
}
