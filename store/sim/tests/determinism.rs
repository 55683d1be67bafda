//! The same seed gives the same run, to the last answer and its time.
use mainstay_store_sim::campaign::{plan, plan_of_changes};
use mainstay_store_sim::world::{Plan, run};

fn runs_alike(plan: Plan) {
    let (first, second) = (run(plan), run(plan));
    let parts = first.details.iter().zip(&second.details).enumerate();
    if let Some((at, (one, other))) = parts.into_iter().find(|(_, (one, other))| one != other) {
        assert_eq!(one, other, "line {at} of {plan:?}");
    }
    assert_eq!(first.fingerprint, second.fingerprint, "{plan:?}");
}

#[test]
fn the_same_seed_gives_the_same_run_of_one_member() {
    (0..3).for_each(|seed| runs_alike(plan(seed, 1, None)));
}

#[test]
fn the_same_seed_gives_the_same_run_of_three_members() {
    (0..3).for_each(|seed| runs_alike(plan(seed, 3, None)));
}

#[test]
fn the_same_seed_gives_the_same_run_of_five_members() {
    runs_alike(plan(0, 5, None));
}

#[test]
fn the_same_seed_gives_the_same_run_of_changing_members() {
    runs_alike(plan_of_changes(0, 3));
}

#[test]
fn other_seeds_give_other_runs() {
    assert_ne!(run(plan(1, 1, None)).fingerprint, run(plan(2, 1, None)).fingerprint);
}
