//! Calls from the server to services of the administrator's choice: webhooks, issuers of tokens.
//!
//! HTTPS only, within a deadline, with a bounded answer; redirects are not followed. Where to call is given in a kubeconfig
//! file, as upstream has it, or by a URL.

mod caller;
mod kubeconfig;
mod remote;

pub(crate) use caller::machine_roots;
pub use caller::{CallError, Caller};
pub use kubeconfig::{KubeconfigError, parse_kubeconfig};
pub use remote::Remote;
