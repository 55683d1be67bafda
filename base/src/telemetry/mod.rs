//! Structured logs, the text form of metrics, and traces.

mod metrics;
pub mod trace;
mod tracing_setup;

pub use metrics::{MetricsError, encode_text, process_metrics};
pub use tracing_setup::{LogFormat, LogSetupError, init_tracing};
