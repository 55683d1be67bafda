//! Randomness for identifiers and timers.
use std::hash::{BuildHasher, DefaultHasher, Hasher as _, RandomState};
use std::time::SystemTime;

#[cfg(feature = "sim")]
thread_local! {
    static STATE: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// Makes all randomness of stores on this thread follow from `seed`; none gives it back to the system.
#[cfg(feature = "sim")]
pub fn seed_randomness(seed: Option<u64>) {
    STATE.set(seed);
}

/// The next number of a seeded thread (SplitMix64).
#[cfg(feature = "sim")]
fn seeded() -> Option<u64> {
    let state = STATE.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(Some(state));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ (mixed >> 31))
}

#[cfg(not(feature = "sim"))]
const fn seeded() -> Option<u64> {
    None
}

/// Not zero, and different each time: the standard library seeds hash maps from the system's randomness.
pub(crate) fn random(purpose: &str) -> u64 {
    seeded().unwrap_or_else(|| RandomState::new().hash_one(purpose)).max(1)
}

/// The time of day in seconds since 1970, for what only has to differ from time to time. In a simulation it follows from the seed.
pub(crate) fn unix_seconds() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "the time of day is what is wanted")]
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    seeded().map_or_else(now, |number| number >> 32)
}

/// Like [`RandomState`], but it follows from the seed of a simulation: what depends on its order does, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RandomHash(u64);

impl Default for RandomHash {
    fn default() -> Self {
        Self(random("hash"))
    }
}

impl BuildHasher for RandomHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
