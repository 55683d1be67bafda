//! What a decision about one budget depends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;

pub(crate) struct World {
    pub(crate) budget: Arc<PodDisruptionBudget>,
    /// The pods that the budget selects.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The controllers of the pods, where the budget counts in parts of what is expected.
    pub(crate) scales: Result<Scales, String>,
    pub(crate) now: Timestamp,
}

/// How many pods the controllers of pods want.
#[derive(Debug, Default)]
pub(crate) struct Scales {
    /// By the uid of the topmost controller.
    pub(crate) replicas: BTreeMap<String, i32>,
    /// Whether some pods have no controller.
    pub(crate) has_unmanaged: bool,
}

impl Scales {
    /// All pods that are wanted.
    pub(crate) fn expected(&self) -> i32 {
        self.replicas.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}
