//! Which writer owns which field of an object (`metadata.managedFields`), and server-side apply, as upstream's
//! structured-merge-diff defines them. Pure: objects, schema and time come in, a new object and new owners go out.
//! Nothing here may fail on an owner's fields that were stored; a writer that sends nonsense loses its claim only.
//!
//! [`FieldSet`] is a set of paths, [`Shape`] what the schema says about a value, [`compare`] what two states differ in,
//! [`track_update`] what a create, update or patch does to the owners, [`apply`] what an apply does to object and
//! owners.

mod apply;
mod check;
mod collect;
mod compare;
mod conflict;
mod element;
mod field_set;
mod fields_v1;
mod items;
mod last_applied;
mod lay;
mod managers;
mod merge;
mod prune;
mod scale;
mod shape;
mod typed_error;
mod update;

pub use apply::{Application, ApplyError, apply};
pub use collect::field_set;
pub use compare::{Changes, compare};
pub use conflict::{Conflict, conflict_status};
pub use element::Element;
pub use field_set::FieldSet;
pub use fields_v1::FieldsError;
pub use last_applied::LAST_APPLIED_ANNOTATION;
pub use lay::{LayError, lay_over};
pub use managers::{ENTRIES_MAX, Managed, ManagedError, ManagerId, Operation, Writing, differ_in_time_only};
pub use merge::merge;
pub use scale::{from_scale, to_scale};
pub use shape::Shape;
pub use typed_error::TypedError;
pub use update::track_update;

#[cfg(test)]
mod tests;
