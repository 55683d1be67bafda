//! The built-in kinds: one small file for each states its names, defaults, checks, immutable fields, table and
//! subresources. All of it is pure, sees one object at a time and follows upstream's texts. What holds for every
//! kind is in the machinery; what needs another object is admission in the server.

mod apps;
mod catalog;
mod core;
mod endpoint_slice;
mod lease;
mod pod_spec;
mod priority_class;
mod rbac;
mod review;
mod shape;
mod table;

pub use apps::{DEPLOYMENT, REPLICA_SET};
pub use catalog::{all, bodies, by_gvk, by_gvr};
pub use core::config_map::CONFIG_MAP;
pub use core::endpoints::ENDPOINTS;
pub use core::event::{EVENT, EVENTS_EVENT};
pub use core::namespace::NAMESPACE;
pub use core::node::NODE;
pub use core::pod::POD;
pub use core::secret::SECRET;
pub use core::service::SERVICE;
pub use core::service_account::SERVICE_ACCOUNT;
pub use endpoint_slice::ENDPOINT_SLICE;
pub use lease::LEASE;
pub use mainstay_apiserver_extensions::crd::CUSTOM_RESOURCE_DEFINITION;
pub use priority_class::{PRIORITY_CLASS, SYSTEM_CLASSES};
pub use rbac::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
pub use review::{
    BINDING, EVICTION, LOCAL_SUBJECT_ACCESS_REVIEW, SCALE, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_REVIEW,
    SELF_SUBJECT_RULES_REVIEW, SUBJECT_ACCESS_REVIEW, TOKEN_REQUEST, TOKEN_REVIEW,
};
