//! Kinds of flowcontrol.apiserver.k8s.io/v1.

mod bootstrap;
mod flow_schema;
mod priority_level;
mod rules;

pub use bootstrap::{bootstrap_flow_schemas, bootstrap_priority_levels};
pub use flow_schema::FLOW_SCHEMA;
pub use priority_level::PRIORITY_LEVEL_CONFIGURATION;
