//! The API calls that a pure `plan` may ask for, as data, and the actor that carries them out.
//!
//! A [`Step`] states which object it means by uid or resourceVersion wherever the API allows a precondition, so that a
//! plan made from a stale cache fails instead of hitting a newer object of the same name.

mod actor;
mod error;
mod request;
mod step_kind;
mod target;

pub use actor::{Actor, Written};
pub use error::{ActError, answer};
pub use step_kind::{PatchKind, Propagation, Step};
pub use target::{Kind, Target};
