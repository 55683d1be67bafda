//! The path of an object from a request to the store, as pure steps that the server calls in order:
//!
//! create: [`accept`] → mutating admission → [`prepare_create`] → [`validate_create`] → validating admission → store
//! update: [`check_identity`], [`accept`] → mutating admission → [`prepare_update`] → [`validate_update`] →
//! validating admission → [`is_unchanged`]? nothing : [`removes_object`]? delete : store
//! delete: [`deletion::plan`] → store
//!
//! Field managers are not kept yet: `metadata.managedFields` of a request is dropped and none are stored, so a
//! client can never forge one.

mod accept;
mod create;
pub mod deletion;
mod name;
mod stamp;
mod update;

pub use accept::{accept, check_identity};
pub use create::{Creation, prepare_create, validate_create};
pub use name::{NAME_SUFFIX_LENGTH, name_suffix};
pub use stamp::{parse_timestamp, timestamp};
pub use update::{Target, is_unchanged, prepare_update, removes_object, validate_update};
