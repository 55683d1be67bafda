//! Patches: RFC 6902, RFC 7386 and Kubernetes' strategic merge. Each takes the current object and gives the new
//! one; the current one is never changed. The result is not yet checked against the schema
//! (see [`crate::json::conform`]).

mod error;
mod json_patch;
mod merge;
mod ordering;
mod strategic;

pub use error::PatchError;
pub use json_patch::{COPY_BYTES_MAX, OPERATIONS_MAX, json_patch};
pub use merge::merge_patch;
pub use strategic::strategic_merge;
