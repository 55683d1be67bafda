//! OpenTelemetry's protocol for traces: messages and the service, made from `otlp/v1.proto`.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from otlp/v1.proto"
)]

include!(concat!(env!("OUT_DIR"), "/opentelemetry.proto.collector.trace.v1.rs"));
