//! Kinds of admissionregistration.k8s.io/v1.

mod binding;
mod client_config;
mod conditions;
mod expressions;
mod policy;
mod resource_rules;
mod type_check;
mod webhook_configuration;

pub use binding::{MUTATING_ADMISSION_POLICY_BINDING, VALIDATING_ADMISSION_POLICY_BINDING};
pub use expressions::{AdmissionNames, NAMESPACE_SHAPE, REQUEST_SHAPE};
pub use policy::{MUTATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY};
pub use type_check::{KnownKinds, has_type_check, type_checked};
pub use webhook_configuration::{MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_WEBHOOK_CONFIGURATION};
