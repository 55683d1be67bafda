//! What the scheduler knows: nodes, the pods on them, and what is left of their resources. Updated in place with every
//! change; only one task writes it.

mod node_info;
mod pod_info;
mod resources;
mod snapshot;

pub(crate) use node_info::NodeInfo;
pub(crate) use pod_info::PodInfo;
pub(crate) use resources::Resources;
pub(crate) use snapshot::Snapshot;
