//! Which plugins there are, and in which order.

use super::{balanced_allocation, image_locality, least_allocated, node_affinity, taint_toleration};
use crate::framework::Score;

/// All score plugins.
pub(crate) fn all() -> Vec<Box<dyn Score>> {
    vec![
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(least_allocated::LeastAllocated),
        Box::new(balanced_allocation::BalancedAllocation),
        Box::new(image_locality::ImageLocality),
    ]
}
