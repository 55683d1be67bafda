//! JSON: decoding against a schema with upstream's strictness and texts, and encoding.

mod decode;
mod encode;
mod error;
mod scan;

pub use decode::{Decoded, Strictness, conform, decode, decode_free};
pub use encode::{encode, to_string};
pub use error::DecodeError;

pub(crate) use decode::zero_element;
pub(crate) use encode::{write_float, write_int, write_string};

/// How deep a tree that is kept may be: twice what large schemas of custom resources need, and half of what a
/// thread of two megabytes can walk even in an unoptimised build.
pub const TREE_DEPTH_MAX: usize = 128;
