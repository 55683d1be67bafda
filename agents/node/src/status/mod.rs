//! `status` of a pod, computed from a view. Pure; field by field as upstream's kubelet writes it.

mod conditions;
mod container;
mod patch;
mod phase;
mod pod_status;

pub(crate) use container::container_id;
pub(crate) use patch::status_patch;
pub(crate) use pod_status::pod_status;
