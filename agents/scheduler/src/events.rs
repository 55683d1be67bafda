//! Changes of the cluster that may make a waiting pod schedulable.

/// A change that may help waiting pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClusterEvent {
    /// A node came.
    NodeAdded,
    /// A node offers other amounts of resources.
    NodeAllocatable,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints or its unschedulable mark changed.
    NodeTaints,
    /// An assigned pod went, or gave up its resources.
    PodGone,
    /// A pod was assigned, or an assigned pod's labels changed.
    PodPlaced,
}
