//! Prefers nodes whose CPU and memory are used in equal measure (NodeResourcesBalancedAllocation).

use crate::framework::{Rate, SCORE_MAX, Score};
use crate::state::{PodInfo, Resources, Snapshot};

pub(super) struct BalancedAllocation;

/// How far the used shares of the two resources lie apart, as a score.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score between 0 and 100")]
fn balance(cpu: (i64, i64), memory: (i64, i64)) -> i64 {
    let share =
        |(used, capacity): (i64, i64)| (capacity > 0).then(|| (used as f64 / capacity as f64).min(1.0));
    let deviation = match (share(cpu), share(memory)) {
        (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
        _ => 0.0,
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}

impl Score for BalancedAllocation {
    fn weight(&self) -> i64 {
        1
    }

    fn pre_score<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> Option<Rate<'a>> {
        // A pod that asks for nothing changes no balance.
        let asks = [Resources::CPU, Resources::MEMORY].iter().any(|name| pod.requests.get(name) > 0);
        if !asks {
            return None;
        }
        Some(Box::new(move |node| {
            let used = |name: &str| {
                let used = node.requested.get(name).saturating_add(pod.requests.get(name));
                (used, node.allocatable.get(name))
            };
            balance(used(Resources::CPU), used(Resources::MEMORY))
        }))
    }
}
