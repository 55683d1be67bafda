//! Admission webhooks: `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`. What a configuration says ([`hook`]),
//! whether a hook is asked ([`matching`]) and what is asked and answered ([`review`]) is pure; [`client`] makes the call,
//! with a deadline and bounded bodies.

pub(super) mod call;
mod client;
mod hook;
pub(super) mod matching;
mod mutating;
mod review;
mod source;
mod validating;

pub use client::{Caller, ClientError};
pub use mutating::MutatingWebhooks;
pub use validating::ValidatingWebhooks;
