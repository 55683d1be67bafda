//! The Filter plugins, in upstream's order.

mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod pod_topology_spread;
mod registry;
mod taint_toleration;
mod volume_binding;

pub(crate) use node_affinity::{matches_term, preferred_terms};
pub(crate) use registry::all;
pub(crate) use taint_toleration::tolerates;
