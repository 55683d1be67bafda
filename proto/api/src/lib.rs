//! The Kubernetes vocabulary that every part shares: names of kinds and resources, quantities, selectors, the
//! `Status` answer, patch and watch types. No IO, no clock; every parser is total.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "each conversion is clamped first or stated to be approximate"
)]

pub mod field;
pub mod label;
mod media;
mod names;
mod quantity;
mod selector_text;
mod status;

pub use media::{PatchType, WatchEventType};
pub use names::{Gvk, Gvr};
pub use quantity::{Format, Quantity, QuantityError};
pub use status::{Status, StatusCause, StatusDetails};
