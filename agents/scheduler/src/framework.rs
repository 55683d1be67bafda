//! The extension points, under upstream's names. A plugin is a small file in `filters/` or `scores/`.

use crate::events::ClusterEvent;
use crate::state::{NodeInfo, PodInfo, Snapshot};

/// The best score a plugin can give; the worst is 0.
pub(crate) const SCORE_MAX: i64 = 100;

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The reasons, in upstream's words.
    pub(crate) reasons: Vec<String>,
}

impl Rejection {
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()] }
    }
}

/// Checks one node for the pod that the check was made for.
pub(crate) type Check<'a> = Box<dyn Fn(&NodeInfo) -> Result<(), Rejection> + 'a>;

/// What a filter knows about a pod before it looks at single nodes.
pub(crate) enum PreFilter<'a> {
    /// The filter has nothing to say about this pod.
    Skip,
    /// No node can take the pod.
    Reject(String),
    /// Ask for each node.
    Filter(Check<'a>),
}

/// A Filter plugin, with its PreFilter and its enqueueing hints.
pub(crate) trait Filter: Send + Sync {
    /// Upstream's plugin name.
    fn name(&self) -> &'static str;

    /// Prepares the checks for one pod.
    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> PreFilter<'a>;

    /// The changes after which a pod that this filter rejected is worth another try.
    fn helped_by(&self) -> &'static [ClusterEvent];
}

/// Scores one node for the pod that it was made for.
pub(crate) type Rate<'a> = Box<dyn Fn(&NodeInfo) -> i64 + 'a>;

/// How raw scores become scores between 0 and [`SCORE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Normalize {
    /// They are already.
    No,
    /// The highest becomes the best score.
    Scale,
    /// The lowest becomes the best score.
    ScaleReversed,
}

/// A Score plugin with its PreScore and NormalizeScore.
pub(crate) trait Score: Send + Sync {
    /// Upstream's default weight.
    fn weight(&self) -> i64;

    /// Prepares the scoring of one pod over the feasible nodes; `None` when the plugin has nothing to say about it.
    fn pre_score<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> Option<Rate<'a>>;

    /// How the raw scores are normalized.
    fn normalize(&self) -> Normalize {
        Normalize::No
    }
}

impl Normalize {
    pub(crate) fn apply(self, scores: &mut [i64]) {
        if self == Self::No {
            return;
        }
        let highest = scores.iter().copied().max().unwrap_or(0);
        for score in scores {
            let scaled = if highest == 0 { 0 } else { *score * SCORE_MAX / highest };
            *score = if self == Self::ScaleReversed { SCORE_MAX - scaled } else { scaled };
        }
    }
}
