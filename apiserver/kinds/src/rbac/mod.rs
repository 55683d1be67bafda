//! Kinds of rbac.authorization.k8s.io/v1.

mod binding;
mod role;

pub use binding::{CLUSTER_ROLE_BINDING, ROLE_BINDING};
pub use role::{CLUSTER_ROLE, ROLE};
