//! The Kubernetes vocabulary that every part shares: names of kinds and resources, quantities, selectors, the
//! `Status` answer, patch and watch types. No IO, no clock; every parser is total.

mod names;
pub mod field;
pub mod label;
mod media;
mod quantity;
mod selector_text;
mod status;

pub use media::{PatchType, WatchEventType};
pub use names::{Gvk, Gvr};
pub use quantity::{Format, Quantity, QuantityError};
pub use status::{Status, StatusCause, StatusDetails};
