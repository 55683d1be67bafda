//! Calls from the server to services of the administrator's choice: webhooks, issuers of tokens.
//!
//! HTTPS only, within a deadline, with a bounded answer; redirects are not followed. Where to call is given in a kubeconfig
//! file, as upstream has it, or by a URL.

mod caller;
mod connection;
mod kubeconfig;
mod remote;

pub use caller::{CallError, Caller};
pub(crate) use connection::{Peer, Sender, connect, exchange, trusting};
pub use kubeconfig::{KubeconfigError, parse_kubeconfig};
pub use remote::Remote;
