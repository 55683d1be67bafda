//! etcd's API over a real connection: every RPC, every field, the exact codes and texts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::type_complexity,
    reason = "tests end where something is wrong"
)]

mod auth;
#[path = "../authority/mod.rs"]
mod authority;
mod concurrency;
mod etcdctl;
mod etcdctl_users;
mod kv;
mod learner;
mod lease;
mod metrics;
mod pages;
mod rig;
mod rpcs;
mod services;
mod snapshot;
mod tls;
mod watch;
