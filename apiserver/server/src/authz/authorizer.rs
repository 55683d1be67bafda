//! The authorizer: `system:masters` first, then the configured ones in their order (what nodes may, and RBAC, where nothing
//! says otherwise).

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;

use super::index::RbacIndex;
use super::node::NodeAuthorizer;
use super::webhook::WebhookAuthorizer;
use crate::authn::user::MASTERS;
use crate::types::{Attributes, Authorize, Decision, UserInfo, Verdict};

/// Answers access questions: RBAC from the newest [`RbacIndex`].
#[derive(Debug, Clone)]
pub struct Authorizer {
    index: Arc<ArcSwap<RbacIndex>>,
    chain: Arc<ArcSwap<Vec<Link>>>,
}

/// One authorizer of the chain.
#[derive(Debug)]
pub enum Link {
    /// Allows everything.
    AlwaysAllow,
    /// Refuses everything.
    AlwaysDeny,
    /// What node agents may.
    Node(NodeAuthorizer),
    /// Roles and their bindings.
    Rbac,
    /// Another server.
    Webhook(Arc<WebhookAuthorizer>),
}

/// What the links so far have to say where none of them decides.
#[derive(Default)]
struct Undecided {
    reasons: Vec<String>,
    errors: Vec<String>,
}

impl Default for Authorizer {
    fn default() -> Self {
        Self::new(vec![Link::Rbac])
    }
}

impl Authorizer {
    /// An authorizer that asks `chain` in its order, with a still empty index.
    pub fn new(chain: Vec<Link>) -> Self {
        Self { index: Arc::default(), chain: Arc::new(ArcSwap::from_pointee(chain)) }
    }

    /// Asks `chain` from now on. Questions that wait for an answer are still decided by the one that they began with.
    pub fn replace_chain(&self, chain: Vec<Link>) {
        self.chain.store(Arc::new(chain));
    }

    /// The index as it is now.
    pub fn index(&self) -> Arc<RbacIndex> {
        self.index.load_full()
    }

    /// Makes `index` the one that later questions are answered from.
    pub fn replace(&self, index: RbacIndex) {
        self.index.store(Arc::new(index));
    }

    /// Whether a link cannot say beforehand what somebody may.
    pub fn has_webhook(&self) -> bool {
        self.chain.load().iter().any(|link| matches!(link, Link::Webhook(_)))
    }

    /// Goes on from the link at `from` of `chain`.
    fn walk<'a>(
        &'a self,
        chain: &Arc<Vec<Link>>,
        (user, asked): (&'a UserInfo, &'a Attributes),
        from: usize,
        mut so_far: Undecided,
    ) -> Verdict<'a> {
        for (at, link) in chain.iter().enumerate().skip(from) {
            let decision = match link {
                Link::AlwaysAllow => Decision::Allow(String::new()),
                Link::AlwaysDeny => Decision::NoOpinion("Everything is forbidden.".to_owned()),
                Link::Node(nodes) => nodes.authorize(user, asked),
                Link::Rbac => decide(&self.index.load(), user, asked),
                Link::Webhook(webhook) => match webhook.ask(user, asked) {
                    Verdict::Now(decision) => decision,
                    Verdict::Later(answer) => {
                        let rest = (Arc::clone(chain), at + 1, so_far);
                        return Verdict::Later(self.wait(answer, (user, asked), rest));
                    }
                },
            };
            if let Some(decision) = so_far.take(decision) {
                return Verdict::Now(decision);
            }
        }
        Verdict::Now(so_far.into_decision())
    }

    fn wait<'a>(
        &'a self,
        answer: BoxFuture<'a, Decision>,
        question: (&'a UserInfo, &'a Attributes),
        (chain, next, mut so_far): (Arc<Vec<Link>>, usize, Undecided),
    ) -> BoxFuture<'a, Decision> {
        Box::pin(async move {
            if let Some(decision) = so_far.take(answer.await) {
                return decision;
            }
            match self.walk(&chain, question, next, so_far) {
                Verdict::Now(decision) => decision,
                Verdict::Later(decision) => decision.await,
            }
        })
    }
}

impl Undecided {
    /// Takes in what a link says; a decision ends the walk.
    fn take(&mut self, said: Decision) -> Option<Decision> {
        match said {
            Decision::Allow(_) | Decision::Deny(_) | Decision::Failed { denies: true, .. } => Some(said),
            Decision::Failed { error, .. } => {
                self.errors.push(error);
                None
            }
            Decision::NoOpinion(reason) => {
                if !reason.is_empty() {
                    self.reasons.push(reason);
                }
                None
            }
        }
    }

    fn into_decision(self) -> Decision {
        match self.errors.as_slice() {
            [] => Decision::NoOpinion(self.reasons.join("\n")),
            [one] => Decision::Failed { error: one.clone(), denies: false },
            many => Decision::Failed { error: format!("[{}]", many.join(", ")), denies: false },
        }
    }
}

impl Authorize for Authorizer {
    fn ask<'a>(&'a self, user: &'a UserInfo, attributes: &'a Attributes) -> Verdict<'a> {
        if user.in_group(MASTERS) {
            return Verdict::Now(Decision::Allow(String::new()));
        }
        self.walk(&self.chain.load(), (user, attributes), 0, Undecided::default())
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
