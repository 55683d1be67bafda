//! A test of the tests: each mistake that is seeded into the store is noticed within a bounded number of runs, for the right reason.
#![allow(clippy::panic, clippy::print_stdout, reason = "a test fails by panicking, and tells what it did")]
use mainstay_store::SeededBug;
use mainstay_store_sim::campaign::{campaign, plan};

/// A mistake that so many runs do not show is a hole in the checkers.
const RUNS_MAX: u64 = 40;

/// Runs seeds until the mistake shows; one of the problems must say `what`.
fn is_caught(bug: SeededBug, members: usize, what: &[&str]) {
    match campaign((1000..1000 + RUNS_MAX).map(|seed| plan(seed, members, Some(bug)))) {
        Ok(total) => panic!("{bug:?} was not noticed: {total}"),
        Err(report) => {
            println!("{bug:?} shows in run {}: {:.300}", report.plan.seed - 999, report.problems[0]);
            let all = report.problems.join("; ");
            assert!(
                what.iter().any(|what| all.contains(what)),
                "{bug:?} shows, but not as {what:?}: {all:.3000}"
            );
        }
    }
}

#[test]
fn acknowledging_before_the_sync_is_caught() {
    is_caught(
        SeededBug::AckBeforeFsync,
        1,
        &[
            "says otherwise",
            "answer should be",
            "history ends",
            "goes back",
            "nobody asked",
            "gap",
            "that was synced cannot be read",
        ],
    );
}

#[test]
fn a_watch_that_skips_what_was_compacted_is_caught() {
    is_caught(SeededBug::WatchSkipsCompacted, 1, &["are missing before"]);
}

#[test]
fn progress_ahead_of_events_is_caught() {
    is_caught(SeededBug::ProgressAheadOfEvents, 1, &["came before the events", "again or late"]);
}

#[test]
fn a_read_that_asks_no_leader_is_caught() {
    is_caught(SeededBug::ReadWithoutReadIndex, 3, &["time goes back", "not linearizable"]);
}
