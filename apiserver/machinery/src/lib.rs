//! Kind-agnostic, pure machinery of the API server: the value tree, the schema engine, the JSON, YAML and
//! protobuf codecs, defaults, patches, tables and OpenAPI documents. Nothing here does IO, reads a clock or
//! knows a single kind's rules.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "wire formats define these conversions; each place states its bounds"
)]

pub mod continue_token;
pub mod conversion;
pub mod defaults;
pub mod intern;
pub mod json;
pub mod kind;
pub mod object;
pub mod openapi;
pub mod ownership;
pub mod patch;
pub mod pipeline;
pub mod protobuf;
pub mod scalar;
pub mod schema;
pub mod structural;
pub mod validation;
pub mod value;
pub mod yaml;
