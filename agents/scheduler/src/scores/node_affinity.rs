//! Prefers nodes that meet more of the pod's preferred node affinity.

use crate::filters::{matches_term, preferred_terms};
use crate::framework::{Normalize, Rate, Score};
use crate::state::{PodInfo, Snapshot};

pub(super) struct NodeAffinity;

impl Score for NodeAffinity {
    fn weight(&self) -> i64 {
        2
    }

    fn pre_score<'a>(&'a self, pod: &'a PodInfo, _snapshot: &'a Snapshot) -> Option<Rate<'a>> {
        let terms = preferred_terms(pod);
        if terms.is_empty() {
            return None;
        }
        Some(Box::new(move |node| {
            let met = terms.iter().filter(|term| matches_term(&term.preference, node));
            met.map(|term| i64::from(term.weight)).sum()
        }))
    }

    fn normalize(&self) -> Normalize {
        Normalize::Scale
    }
}
