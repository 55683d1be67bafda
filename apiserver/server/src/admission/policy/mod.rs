//! Admission by expressions: `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy` with their bindings and parameters,
//! and the match conditions of webhooks. What an expression sees and what follows from it is pure; the steps look up
//! bindings and parameters.

mod answers;
mod conditions;
mod evaluate;
mod mutate;
mod mutating;
mod names;
mod read;
mod rights;
mod run;
mod scope;
mod source;
mod validating;

pub(in crate::admission) use conditions::{Conditions, Met};
pub use mutating::MutatingPolicies;
pub use rights::PolicyRights;
pub use validating::ValidatingPolicies;
