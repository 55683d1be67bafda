//! The same seed gives the same run, to the last answer and its time.
use mainstay_store_sim::campaign::plan;
use mainstay_store_sim::world::run;

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..3 {
        let (first, second) = (run(plan(seed, 1, None)), run(plan(seed, 1, None)));
        let parts = first.details.iter().zip(&second.details);
        if let Some((one, other)) = parts.into_iter().find(|(one, other)| one != other) {
            assert_eq!(one, other, "seed {seed}");
        }
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
    }
}

#[test]
fn other_seeds_give_other_runs() {
    assert_ne!(run(plan(1, 1, None)).fingerprint, run(plan(2, 1, None)).fingerprint);
}
