//! Why a pod fits nowhere, counted by node.

use std::collections::{BTreeMap, BTreeSet};

use crate::framework::Rejection;

/// Why a pod fits nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    nodes: usize,
    reasons: BTreeMap<String, usize>,
    whole: Option<String>,
    /// The plugins that rejected it.
    pub(crate) plugins: BTreeSet<&'static str>,
}

impl Diagnosis {
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes, ..Self::default() }
    }

    /// No node can take the pod, for one reason.
    pub(crate) fn reject_all(&mut self, plugin: &'static str, reason: String) {
        self.plugins.insert(plugin);
        self.whole = Some(reason);
    }

    /// One node cannot take the pod.
    pub(crate) fn reject(&mut self, plugin: &'static str, rejection: Rejection) {
        self.plugins.insert(plugin);
        for reason in rejection.reasons {
            *self.reasons.entry(reason).or_insert(0) += 1;
        }
    }

    /// Upstream's message.
    pub(crate) fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let because = if let Some(reason) = &self.whole {
            reason.clone()
        } else {
            let mut counted: Vec<String> =
                self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            counted.sort();
            counted.join(", ")
        };
        format!("0/{} nodes are available: {because}.", self.nodes)
    }
}
