//! The question authorization answers, and its answers.

use smol_str::SmolStr;

/// One access question (upstream's `authorizer.Attributes`). Resource requests fill the resource fields, others `path`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or the lower-case HTTP method.
    pub verb: SmolStr,
    /// API group, empty for core.
    pub api_group: SmolStr,
    /// API version.
    pub api_version: SmolStr,
    /// Plural resource name.
    pub resource: SmolStr,
    /// Subresource, or empty.
    pub subresource: SmolStr,
    /// Namespace, or empty.
    pub namespace: SmolStr,
    /// Object name, or empty.
    pub name: SmolStr,
    /// The normalised request path.
    pub path: SmolStr,
    /// The text of a list's field selector, or empty.
    pub field_selector: SmolStr,
    /// The text of a list's label selector, or empty.
    pub label_selector: SmolStr,
    /// Whether the resource fields count.
    pub resource_request: bool,
}

/// One authorizer's answer; the reason is shown to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go ahead.
    Allow(String),
    /// Stop, whatever later authorizers think.
    Deny(String),
    /// Ask the next one; the last `NoOpinion` is a refusal.
    NoOpinion(String),
    /// An authorizer failed and nobody else allows it: answered 500, as upstream.
    Failed {
        /// Why.
        error: String,
        /// Whether later authorizers are not asked.
        denies: bool,
    },
}

impl Decision {
    /// True for [`Decision::Allow`].
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }

    /// The reason, whichever way the decision went.
    pub fn reason(&self) -> &str {
        match self {
            Decision::Allow(r) | Decision::Deny(r) | Decision::NoOpinion(r) => r,
            Decision::Failed { .. } => "",
        }
    }
}
