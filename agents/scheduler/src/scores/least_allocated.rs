//! Prefers nodes with more CPU and memory left (NodeResourcesFit with the LeastAllocated strategy).

use crate::framework::{Rate, SCORE_MAX, Score};
use crate::state::{PodInfo, Resources, Snapshot};

pub(super) struct LeastAllocated;

impl Score for LeastAllocated {
    fn weight(&self) -> i64 {
        1
    }

    fn pre_score<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> Option<Rate<'a>> {
        Some(Box::new(move |node| {
            let (mut sum, mut resources) = (0, 0);
            for name in [Resources::CPU, Resources::MEMORY] {
                let capacity = node.allocatable.get(name);
                if capacity == 0 {
                    continue;
                }
                let used = node.requested_scored.get(name).saturating_add(pod.requests_scored.get(name));
                sum += (capacity.saturating_sub(used).max(0)).saturating_mul(SCORE_MAX) / capacity;
                resources += 1;
            }
            if resources == 0 { 0 } else { sum / resources }
        }))
    }
}
