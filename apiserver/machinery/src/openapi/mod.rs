//! OpenAPI documents, made from the schema tables and the kinds: what `kubectl explain`, client-side merges and the
//! probes for query parameters read. Descriptions are those of the `k8s-openapi` crate (build.rs).

mod custom;
mod definitions;
mod descriptions;
mod document;
mod gnostic;
mod merge;
mod operations;
mod parameters;
mod paths;

pub use document::{V2_PROTOBUF, v2, v2_protobuf, v3};
pub use merge::part_below;

#[cfg(test)]
mod tests;
