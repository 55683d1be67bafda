#![doc = include_str!("../GUIDE.md")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "sizes and counts are far below the limits of their types; i64 revisions are never negative"
)]

mod api;
mod store;

pub use api::*;
pub use store::{Store, Watch};
