//! Disruption budgets: how many of the pods that a budget selects are healthy, how many should be, and so how many may be
//! evicted now. The API server's evictions go by the status that this controller writes.

mod plan;
mod reconciler;
mod scale;
mod status;
mod world;

pub(crate) use reconciler::DisruptionController;
