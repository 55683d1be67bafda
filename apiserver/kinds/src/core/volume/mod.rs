//! Persistent volumes and claims to them.

mod claim_spec;
mod claim_update;
mod modes;
mod persistent_volume;
mod persistent_volume_claim;
mod volume_spec;

pub(crate) use claim_spec::validate_claim_spec;
pub use persistent_volume::PERSISTENT_VOLUME;
pub use persistent_volume_claim::PERSISTENT_VOLUME_CLAIM;
pub(crate) use volume_spec::{validate_driver_name, validate_inline_spec};
