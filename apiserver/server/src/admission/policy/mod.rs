//! Admission by expressions: `ValidatingAdmissionPolicy` with its bindings and parameters, and the match conditions of
//! webhooks. What an expression sees and what follows from it is pure; the step looks up bindings and parameters.
//!
//! Expressions that ask the authorizer are not built yet: such a policy fails as its failure policy says.

mod conditions;
mod evaluate;
mod names;
mod read;
mod source;
mod step;

pub(in crate::admission) use conditions::{Conditions, Met};
pub use step::ValidatingPolicies;
