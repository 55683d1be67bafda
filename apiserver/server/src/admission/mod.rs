//! Steps between decoding and storing: mutating ones before the kind's preparation, validating ones after its checks.
//!
//! The order is upstream's. Of the steps that upstream has on by default, these are not built: `LimitRanger`,
//! `DefaultStorageClass`, `StorageObjectInUseProtection`, `PersistentVolumeClaimResize`, `RuntimeClass`, the three
//! certificate steps, `DefaultIngressClass`, the admission policies and `ResourceQuota`. Their objects are stored where
//! the kind exists, but limit nothing. Webhooks are asked where their configurations are served.

pub mod chain;
pub mod default_tolerations;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod node_taint;
pub mod pod_security;
pub mod priority;
pub mod rbac_escalation;
pub mod service_account;
pub mod signing_requests;
pub mod step;
pub mod webhook;

pub use chain::Chain;
pub use step::Step;
