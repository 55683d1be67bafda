//! The kind CustomResourceDefinition: its rules, its checks, and the decisions about its names and conditions.

mod approval;
mod conditions;
mod defaults;
mod field_path;
mod kind;
mod names;
mod rule_check;
mod rules;
mod schema;
mod spec;
mod structure;

pub use conditions::{CLEANUP_FINALIZER, Condition, condition, is_true, remove_condition, set_condition};
pub use field_path::{FieldPathError, valid_field_path};
pub use kind::CUSTOM_RESOURCE_DEFINITION;
pub use names::{accept_names, approval_condition, structure_condition};
