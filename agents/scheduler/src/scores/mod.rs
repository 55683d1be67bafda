//! The Score plugins.

mod balanced_allocation;
mod image_locality;
mod least_allocated;
mod node_affinity;
mod registry;
mod taint_toleration;
pub(crate) use registry::all;
