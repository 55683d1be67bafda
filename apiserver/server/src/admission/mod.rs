//! Steps between decoding and storing: mutating ones before the kind's preparation, validating ones after its checks.
//!
//! The order is upstream's. Of the steps that upstream has on by default, these are not built: `LimitRanger`,
//! `PodSecurity`, `DefaultStorageClass`, `StorageObjectInUseProtection`, `PersistentVolumeClaimResize`,
//! `RuntimeClass`, the three certificate steps, `DefaultIngressClass`, the webhooks, the admission policies and
//! `ResourceQuota`. Their objects are stored where the kind exists, but limit nothing.

pub mod chain;
pub mod default_tolerations;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod node_taint;
pub mod priority;
pub mod rbac_escalation;
pub mod service_account;
pub mod step;

pub use chain::Chain;
pub use step::Step;
