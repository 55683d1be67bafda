//! Room for requests: API Priority and Fairness.
//!
//! [`plan::Plan`] is made of the cluster's FlowSchemas and PriorityLevelConfigurations; it says (purely) which flow a request
//! belongs to. Each priority level has seats and, where it queues, shuffle-sharded queues that are served fairly
//! ([`level::Level`]). [`FlowControl`] holds the present plan and follows the objects; every ten seconds levels lend each other
//! the seats that they do not use ([`lending`]). A request that finds a free seat takes it by one atomic exchange: no
//! lock, no allocation.

mod control;
mod dump;
mod dump_requests;
pub(crate) mod keeper;
mod lending;
mod level;
mod metrics;
mod plan;
mod queues;
mod retry_after;
mod roster;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use control::{FlowControl, Seat};
pub(crate) use metrics::FlowMetrics;
pub(crate) use plan::Flow;
