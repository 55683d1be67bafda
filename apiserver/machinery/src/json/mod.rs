//! JSON: decoding against a schema with upstream's strictness and texts, and encoding.

mod decode;
mod encode;
mod error;
mod scan;

pub use decode::{Decoded, Strictness, conform, decode, decode_free};
pub use encode::{encode, to_string};
pub use error::DecodeError;
pub use scan::TREE_DEPTH_MAX;

pub(crate) use decode::zero_element;
pub(crate) use encode::{is_plain, write_float, write_int, write_plain, write_string};
