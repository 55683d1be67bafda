//! Probes: one task per probe of a running container, which reports verdicts to the pod's worker.

mod check;
mod grpc;
pub(crate) mod http;
pub(crate) mod port;
mod prober;
mod tally;

pub(crate) use prober::{ProbeKind, ProbeReport, ProbeTask};
