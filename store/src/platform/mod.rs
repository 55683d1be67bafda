//! What the store takes from the machine: threads, the files of its log, free space, randomness.
//!
//! In production these are threads and real files. A simulation puts its own in their place, so that a whole cluster runs on one thread from
//! one seed. Nothing here decides anything.
mod executor;
#[allow(clippy::module_inception, reason = "the file is named for its type")]
mod platform;
mod random;
mod seeded_bug;
#[cfg(feature = "sim")]
mod seeded_tokio;
#[cfg(feature = "sim")]
mod seeded_watch;
mod told;

pub(crate) use executor::Loop;
pub use platform::Platform;
#[cfg(feature = "sim")]
pub use random::seed_randomness;
pub(crate) use random::{RandomHash, random, unix_seconds};
#[cfg(not(feature = "sim"))]
pub(crate) use seeded_bug::SeededBug;
pub(crate) use seeded_bug::is_seeded;
#[cfg(feature = "sim")]
pub use seeded_bug::{SeededBug, seed_bug};
#[cfg(feature = "sim")]
pub(crate) use seeded_tokio::SeededTokio;
pub(crate) use told::{Hearer, Teller};
