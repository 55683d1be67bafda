//! The store is safe in every run: 100 seeds, or as many as `MAINSTAY_SIM_SEEDS` says, or the one that `MAINSTAY_SIM_SEED` names.
//! `MAINSTAY_SIM_SKIP` leaves out so many at the beginning, so that thousands can be run in parts.
#![allow(clippy::panic, clippy::print_stdout, reason = "a test fails by panicking, and tells what it did")]
use mainstay_store_sim::campaign::{campaign, plan, plan_of_changes};
use mainstay_store_sim::world::{Plan, Report};

const SEEDS: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name)?.to_str()?.parse().ok()
}

/// Runs so many of a hundred seeds.
fn check(test: &str, of_hundred: u64, plan: impl Fn(u64) -> Plan) {
    let seeds = if let Some(seed) = number("MAINSTAY_SIM_SEED") {
        log();
        seed..seed + 1
    } else {
        let share = |seeds: u64| (seeds * of_hundred).div_ceil(100);
        let skipped = number("MAINSTAY_SIM_SKIP").unwrap_or(0);
        share(skipped)..share(skipped + number("MAINSTAY_SIM_SEEDS").unwrap_or(SEEDS))
    };
    match campaign(seeds.map(plan)) {
        Ok(total) => println!("{test}: {total}"),
        Err(report) => panic!("{}", failure(test, &report)),
    }
}

/// Shows what the store says, as `MAINSTAY_SIM_LOG` wants it (`openraft=debug`).
fn log() {
    if let Some(filter) = std::env::var_os("MAINSTAY_SIM_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter.to_string_lossy());
        drop(tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).try_init());
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
    check("one_member_is_safe", 70, |seed| plan(seed, 1, None));
}

#[test]
fn three_members_are_safe() {
    check("three_members_are_safe", 18, |seed| plan(seed, 3, None));
}

#[test]
fn five_members_are_safe() {
    check("five_members_are_safe", 4, |seed| plan(seed, 5, None));
}

#[test]
fn members_that_change_are_safe() {
    check("members_that_change_are_safe", 8, |seed| plan_of_changes(seed, 3));
}
