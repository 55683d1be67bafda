//! core/v1 Pod.

mod ephemeral;
mod gated;
mod resize;
mod row;
mod rules;
mod status;
mod update;

pub use rules::POD;
pub(crate) use update::list_differences;
