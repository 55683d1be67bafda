//! The JSON gateway: `POST /v3/...` with JSON becomes the gRPC call of the same meaning, and its answer JSON again.
//!
//! One mechanism for all methods, driven by their descriptors; the only list is [`routes`].
mod call;
mod frames;
mod routes;
mod transcode;

pub(super) use call::Gateway;
