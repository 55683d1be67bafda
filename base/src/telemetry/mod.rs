//! Structured logs and the text form of metrics.

mod metrics;
mod tracing_setup;

pub use metrics::{MetricsError, encode_text, process_metrics};
pub use tracing_setup::{LogFormat, LogSetupError, init_tracing};
