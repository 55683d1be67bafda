//! Runs in which certain things go wrong at certain times: each was a mistake once.
use std::time::Duration;

use mainstay_store_sim::campaign::plan;
use mainstay_store_sim::world::{Fault, Plan, run};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn goes_well(plan: Plan) {
    let report = run(plan);
    let (problems, trace) = (report.problems.join("\n"), report.trace.join("\n"));
    assert!(problems.is_empty(), "{plan:?}:\n{problems}\ntrace:\n{trace}");
}

/// What a partition held up arrives all at once. The simulated network once let a frame overtake those that a cut link had held up: consensus
/// refused an append for want of the one before it, and its leader took that for a log that had gone back.
#[test]
fn appends_that_arrive_in_a_burst_are_taken_in_their_order() {
    const LONG: Duration = ms(4600);
    const CUT_OFF: &[(Duration, Fault, Duration)] = &[
        (ms(500), Fault::Isolate(0), LONG),
        (ms(6000), Fault::Isolate(1), LONG),
        (ms(11_500), Fault::Isolate(2), LONG),
    ];
    for seed in 0..2 {
        goes_well(Plan { script: Some(CUT_OFF), faults_for: ms(17_000), ..plan(seed, 3, None) });
    }
}
