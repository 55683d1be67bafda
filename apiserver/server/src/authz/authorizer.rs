//! The authorizer: `system:masters` first, then what nodes may, then RBAC.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::index::RbacIndex;
use super::node::NodeAuthorizer;
use crate::authn::user::MASTERS;
use crate::types::{Attributes, Authorize, Decision, UserInfo};

/// Answers access questions from the newest [`RbacIndex`].
#[derive(Debug, Clone, Default)]
pub struct Authorizer {
    index: Arc<ArcSwap<RbacIndex>>,
    nodes: Option<Arc<NodeAuthorizer>>,
}

impl Authorizer {
    /// An authorizer that asks `nodes` before its still empty index.
    pub fn with_nodes(nodes: NodeAuthorizer) -> Self {
        Self { index: Arc::default(), nodes: Some(Arc::new(nodes)) }
    }

    /// The index as it is now.
    pub fn index(&self) -> Arc<RbacIndex> {
        self.index.load_full()
    }

    /// Makes `index` the one that later questions are answered from.
    pub fn replace(&self, index: RbacIndex) {
        self.index.store(Arc::new(index));
    }
}

impl Authorize for Authorizer {
    fn authorize(&self, user: &UserInfo, attributes: &Attributes) -> Decision {
        if user.in_group(MASTERS) {
            return Decision::Allow(String::new());
        }
        let node = self.nodes.as_ref().map(|nodes| nodes.authorize(user, attributes));
        match (node, decide(&self.index.load(), user, attributes)) {
            (Some(node), _) if node.is_allowed() => node,
            (Some(node), Decision::NoOpinion(rbac)) => {
                let reasons = [node.reason(), rbac.as_str()];
                let given: Vec<&str> = reasons.into_iter().filter(|reason| !reason.is_empty()).collect();
                Decision::NoOpinion(given.join("\n"))
            }
            (_, rbac) => rbac,
        }
    }
}

/// RBAC's answer. Pure.
pub fn decide(index: &RbacIndex, user: &UserInfo, attributes: &Attributes) -> Decision {
    let mut missing = Vec::new();
    for applied in index.applied(user, &attributes.namespace) {
        match applied.rules {
            Some(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                return Decision::Allow(applied.describe());
            }
            Some(_) => {}
            None => missing.push(applied.missing()),
        }
    }
    Decision::NoOpinion(match missing.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    })
}

#[cfg(test)]
#[path = "authorizer_tests.rs"]
mod tests;
