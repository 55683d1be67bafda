//! Requests for certificates: nodes' own are approved, approved ones are signed, finished ones are cleaned up.
//!
//! Signers are upstream's `kubernetes.io/kube-apiserver-client`, `…-client-kubelet` and `kubelet-serving`.

mod approve;
mod approve_serving;
mod authority;
mod clean;
mod profile;
mod sign;
mod state;
mod subject;
#[cfg(test)]
mod tests;

pub(crate) use approve::Approver;
pub(crate) use approve_serving::ServingApprover;
pub use authority::Authority;
pub(crate) use clean::Cleaner;
pub(crate) use sign::Signer;
