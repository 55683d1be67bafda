//! The cluster's DNS server: Services, headless Services, pods by address, reverse names, and forwarding.
//!
//! Follows the Kubernetes DNS-based service discovery specification 1.1.0. Names are looked up in the local caches at
//! each question, so an answer is as fresh as the watch; nothing is listed or rebuilt when objects change.

mod answer;
mod forward;
mod records;
mod server;

pub use answer::{Answer, answer};
pub use records::Records;
pub use server::{Sockets, spawn};
