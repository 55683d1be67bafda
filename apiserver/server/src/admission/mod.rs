//! Steps between decoding and storing: mutating ones before the kind's preparation, validating ones after its checks.
//!
//! The order is upstream's ([`order`]). Every step that upstream has on by default is here, but for those that do nothing
//! until an alpha feature is switched on. Webhooks and policies are asked where their objects are served.

pub mod certificates;
pub mod chain;
pub mod claim_resize;
pub mod declared_features;
pub mod default_class;
pub mod default_tolerations;
pub mod limit_ranger;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod node_taint;
mod order;
pub mod pod_amounts;
pub mod pod_resize;
pub mod pod_security;
pub mod policy;
pub mod priority;
pub mod rbac_escalation;
mod reread;
pub mod resource_quota;
pub mod runtime_class;
pub mod service_account;
pub mod signing_requests;
pub mod step;
pub mod storage_protection;
mod told;
pub mod topology_labels;
pub mod webhook;

pub use chain::Chain;
pub use step::Step;
