//! Calls from the server to webhooks: what a `clientConfig` says ([`Callee`]) and the call itself ([`Caller`]), for
//! admission and for conversion. What is asked and what answers mean is their matter.

mod callee;
mod caller;
mod service;

pub use callee::{Callee, CalleeError};
pub use caller::{Caller, ClientError};
pub(crate) use service::service_address;
