//! Structural schemas: what a CustomResourceDefinition says about its objects, in the form that pruning, defaulting,
//! validation, server-side apply and OpenAPI read. Made once per version of a definition and shared; never changed.

mod defaulting;
mod model;
mod parse;
mod pruning;

pub use defaulting::{apply_defaults, drop_forbidden_nulls};
pub use model::{Additional, Checks, ListType, MapType, RuleText, SchemaType, Structural};
pub use parse::{SchemaError, parse};
pub use pruning::{prune, prune_root};
