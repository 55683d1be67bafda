//! The path of an object from a request to the store, as pure steps that the server calls in order:
//!
//! create: [`accept`] → [`track`] → mutating admission → [`prepare_create`] → [`validate_create`] → validating admission → store
//! update: [`check_identity`], [`accept`] → [`track`] → mutating admission → [`prepare_update`] → [`validate_update`] →
//! validating admission → [`is_unchanged`]? nothing : [`removes_object`]? delete : store
//! delete: [`deletion::plan`] → store
//! apply: [`apply`], then as an update, or as a create where nothing is stored; neither is tracked again

mod accept;
mod age;
mod create;
pub mod deletion;
mod name;
mod owners;
mod references;
mod stamp;
mod update;

pub use accept::{accept, check_identity};
pub use age::human_duration;
pub use create::{Creation, prepare_create, validate_create};
pub use name::{NAME_SUFFIX_LENGTH, name_suffix};
pub use owners::{Author, apply, lay_over, track};
pub use references::dedup_owner_references;
pub use stamp::{parse_timestamp, timestamp};
pub use update::{Target, invalid_stored, is_unchanged, prepare_update, removes_object, validate_update};
