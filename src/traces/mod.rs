//! Traces for OpenTelemetry's tools: what the flags say, and the way to the collector (decision 0080). Off unless a flag says so.

mod collector;
mod config;
mod export;
mod hop;

pub(crate) use collector::Collector;
pub(crate) use config::{TracesConfig, read};
pub(crate) use export::start;
pub(crate) use hop::forwarded;
