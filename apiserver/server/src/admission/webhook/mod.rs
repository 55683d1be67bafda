//! Admission webhooks: `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`. What a configuration says ([`hook`]),
//! whether a hook is asked ([`matching`]) and what is asked and answered ([`review`]) is pure; [`crate::callout`] makes the
//! call, with a deadline and bounded bodies.

pub(super) mod call;
mod hook;
pub(super) mod matching;
mod mutating;
mod review;
mod source;
mod validating;

pub use mutating::MutatingWebhooks;
pub use validating::ValidatingWebhooks;
