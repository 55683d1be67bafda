//! Objects every cluster starts with, and the assembly of the gates and endpoints.

pub mod assembly;
pub mod extension_trust;
pub mod flow_objects;
pub mod kubernetes_service;
pub mod policy;
pub mod policy_text;
pub mod policy_types;
pub mod presence;
pub mod rbac;
pub mod seed;

pub use assembly::{AssembleError, Gates, SeedError, Seeded, assemble};
