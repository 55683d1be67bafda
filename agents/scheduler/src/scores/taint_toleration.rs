//! Prefers nodes with fewer `PreferNoSchedule` taints that the pod does not tolerate.

use crate::filters::tolerates;
use crate::framework::{Normalize, Rate, Score};
use crate::state::{PodInfo, Snapshot};

pub(super) struct TaintToleration;

impl Score for TaintToleration {
    fn weight(&self) -> i64 {
        3
    }

    fn pre_score<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> Option<Rate<'a>> {
        Some(Box::new(move |node| {
            let disliked = node
                .taints()
                .iter()
                .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerates(pod, taint));
            i64::try_from(disliked.count()).unwrap_or(i64::MAX)
        }))
    }

    fn normalize(&self) -> Normalize {
        Normalize::ScaleReversed
    }
}
