//! The node lifecycle controller: marks nodes that are silent or not ready, by conditions and taints, and their pods.

mod plan;
mod reconciler;

pub(crate) use reconciler::NodeLifecycle;
