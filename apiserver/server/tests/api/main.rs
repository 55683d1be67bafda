//! The server as its clients see it: a real one in this process, over real TLS, on a real store.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]
#![allow(clippy::indexing_slicing, reason = "a missing field in an answer is a failed test")]

mod aggregation;
mod bad_inputs;
mod client;
mod custom;
mod dashboard;
mod discovery;
mod every_kind;
mod flow_control;
mod http2_floods;
mod kinds;
mod kubectl;
mod kubectl_gates;
mod kubectl_life;
mod kubectl_rules;
mod lists;
mod negotiation;
mod objects;
mod other_clients;
mod ownership;
mod protection;
mod remote_stores;
mod security;
mod server;
mod shutdown;
mod store_rig;
mod subresources;
mod tls_peer;
mod traces;
mod watches;
mod wording;
