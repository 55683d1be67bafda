//! Which of the cluster's API servers this process talks to: one at a time, another one when that fails.
//!
//! A [`Servers`] makes clients whose connections all lead to the server in use. [`Servers::watch_over`] asks that server
//! again and again whether it is ready; when it is not, and another is, every connection is cut and made anew to the other.
//! Requests that were under way fail once; watches go on at their revision. A caller with a server of its own
//! ([`Servers::at_home`]) comes back to that when it is ready again, and asks it in the process.

mod asked;
mod choice;
mod connector;
mod guarded;
mod renewing;

pub use asked::Readiness;
pub use choice::{Servers, ServersError};
pub use renewing::renewing;
