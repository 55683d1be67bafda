//! Proof of safety for the store: whole clusters simulated on one thread from one seed, with crashes, partitions and failing disks, and
//! checkers of everything that the store promises.
//!
//! `cargo nextest run -p mainstay-store-sim` runs a bounded number of seeds. `MAINSTAY_SIM_SEEDS=3000` runs more, `MAINSTAY_SIM_SEED=17`
//! one. A failure prints its seed. docs/decisions/0017-the-store-is-simulated.md says what is simulated and what is not.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "this crate is for tests: it may stop on what cannot be"
)]

pub mod campaign;
pub mod check;
pub mod world;
