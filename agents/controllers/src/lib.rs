//! `mainstay-agents-controllers`: the control loops that turn what is asked into what there is.
//!
//! One folder or file per controller, each a [`mainstay_agents_kit::reconcile::Reconciler`]: `watches` says which changes
//! concern which keys, `observe` reads the world around a key from caches, and a pure `plan` decides on the API calls. They
//! share one set of informers and one client.
//!
//! | folder | keeps true |
//! |---|---|
//! | `deployment` | a deployment's pods come from its current template, step by step |
//! | `replica_set` | as many pods as asked, of one template |
//! | `namespace` | a deleted namespace is emptied, then gone |
//! | `garbage_collector` | what lost its last owner goes too |
//! | `service_account`, `root_ca` | each namespace has its default account and the cluster's CA |
//! | `endpoint_slice` | a service's ready pods can be found |
//! | `node_lifecycle`, `taint_eviction`, `pod_gc` | silent nodes are marked, their pods move |
//! | `node_ipam`, `node_dns` | each node has a range of pod addresses and answers its pods' DNS |
//! | `bootstrap_token` | tokens of new nodes go when their time is over |
//! | `certificates` | nodes get their certificates, approved requests are signed, old ones go |
//! | `disruption` | budgets say how many of their pods may be evicted |
//! | `storage_protection` | volumes and claims that are used stay |
//! | `cluster_role_aggregation` | aggregated roles hold the rules of their parts |

#![cfg_attr(test, allow(clippy::needless_pass_by_value, reason = "test builders read better with literals"))]

mod bootstrap_token;
mod certificates;
mod cluster_role_aggregation;
mod config;
mod counts;
mod deployment;
mod discovery;
mod disruption;
mod endpoint_slice;
mod garbage_collector;
#[cfg(test)]
mod golden;
mod names;
mod namespace;
mod node_dns;
mod node_ipam;
mod node_lifecycle;
mod ownership;
mod pod_gc;
mod pods;
mod replica_set;
mod root_ca;
mod service_account;
#[cfg(test)]
mod simulation;
mod storage_protection;
mod taint_eviction;

pub use certificates::Authority;
pub use config::{Config, run};
