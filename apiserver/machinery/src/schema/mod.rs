//! The schema of every Kubernetes type: fields, protobuf numbers, shapes, merge keys, defaults. Read once, at the
//! first use, from the table that `cargo xtask codegen` makes; it is never changed afterwards.

mod load;
mod model;

pub use load::{CUSTOM_OBJECT, TABLE_BYTES, all, lookup, lookup_openapi};
pub use model::{Base, Container, Field, Type};
