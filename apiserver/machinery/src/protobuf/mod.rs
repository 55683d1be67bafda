//! Kubernetes' protobuf form, driven by the schema: encoding, decoding, the envelope, and the direct way from
//! stored bytes to JSON. Decoders are total: any bytes give a value or an error, and nothing is allocated by a
//! length that the bytes only claim.

mod decode;
mod encode;
pub mod envelope;
mod special;
mod transcode;
pub(crate) mod wire;

pub use decode::{decode, decode_object};
pub use encode::{EncodeError, encode, encode_object};
pub use transcode::{Identity, transcode_json, transcode_metadata_json, with_resource_version};
