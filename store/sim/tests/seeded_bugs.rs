//! A test of the tests: each mistake that is seeded into the store is noticed within a bounded number of runs, for the right reason.
#![allow(clippy::panic, clippy::print_stdout, reason = "a test fails by panicking, and tells what it did")]
use std::time::Duration;

use mainstay_store::SeededBug;
use mainstay_store_sim::campaign::{campaign, plan};
use mainstay_store_sim::world::{Fault, Plan, run};

/// When something goes wrong, what, and for how long.
type Script = &'static [(Duration, Fault, Duration)];

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

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Some mistakes show only when several things go wrong one after the other: a script has them happen. Without the mistake the same runs go
/// well, so that it is the mistake that is noticed, not the script.
fn is_caught_by_script(bug: SeededBug, script: Script, runs_max: u64, what: &[&str]) {
    let scripted = |seed: u64, bug: Option<SeededBug>| {
        let (last, _, length) = script.last().unwrap_or_else(|| panic!("an empty script"));
        Plan { script: Some(script), faults_for: *last + *length, ..plan(seed, 3, bug) }
    };
    for seed in 1000..1000 + runs_max {
        let sound = run(scripted(seed, None));
        assert!(sound.problems.is_empty(), "seed {seed} without the mistake: {:?}", sound.problems);
        let report = run(scripted(seed, Some(bug)));
        let all = report.problems.join("; ");
        if all.is_empty() {
            continue;
        }
        println!("{bug:?} shows in run {}: {:.300}", seed - 999, report.problems[0]);
        assert!(
            what.iter().any(|what| all.contains(what)),
            "{bug:?} shows, but not as {what:?}: {all:.3000}\ntrace:\n{}",
            report.trace.join("\n")
        );
        return;
    }
    panic!("{bug:?} was not noticed in {runs_max} runs");
}

/// Member 2 elects member 1 while the leader, 0, stands still; it loses its power and forgets that; then 0 goes on and finds 2 willing to follow it,
/// while 1 is cut off. What 1 acknowledged with 2 is gone.
#[test]
fn a_vote_that_is_not_written_is_caught() {
    const SCRIPT: Script = &[
        (ms(1000), Fault::MoveLeader(0), ms(2)),
        (ms(2000), Fault::Pause(0), ms(3000)),
        (ms(4600), Fault::Isolate(1), ms(6000)),
        (ms(4620), Fault::PowerCut(2), ms(400)),
        (ms(5000), Fault::MoveLeader(0), ms(6000)),
    ];
    is_caught_by_script(
        SeededBug::VoteNotPersisted,
        SCRIPT,
        10,
        // The last is openraft's own check in debug builds: the log has entries of a term that the member's vote has forgotten.
        &[
            "two leaders",
            "goes back",
            "nobody asked",
            "the watch of everything stands",
            "must GE last_leader_log_ids",
        ],
    );
}

/// Member 2 is cut off until only a snapshot can bring it up to date, and then made the leader: it knows nothing of leases that live on.
#[test]
fn a_snapshot_without_leases_is_caught() {
    const SCRIPT: Script = &[
        (ms(1000), Fault::MoveLeader(0), ms(2)),
        (ms(1500), Fault::Isolate(2), ms(14_000)),
        (ms(17_000), Fault::MoveLeader(2), ms(2)),
        (ms(17_500), Fault::MoveLeader(2), ms(5000)),
    ];
    is_caught_by_script(
        SeededBug::LeaseLostInSnapshot,
        SCRIPT,
        8,
        &["said not to exist", "was still there after"],
    );
}

/// The leader stands still until another has been elected and has written; it goes on without hearing of that, and answers reads.
#[test]
fn a_stale_read_after_a_pause_is_caught() {
    const SCRIPT: Script = &[
        (ms(1000), Fault::MoveLeader(0), ms(2)),
        (ms(2000), Fault::Pause(0), ms(6000)),
        (ms(7900), Fault::Isolate(0), ms(2000)),
    ];
    is_caught_by_script(SeededBug::StaleReadAfterPause, SCRIPT, 10, &["time goes back", "not linearizable"]);
}
