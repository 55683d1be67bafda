//! Snapshots as objects of an S3-compatible store: listed, uploaded in parts, read as streams, removed. Memory is bounded by one
//! part, and no key of the bucket is ever written anywhere. Signatures are those of a library (docs/decisions/0063).

mod client;
mod flags;
mod leftovers;
mod refusals;
mod upload;

pub(super) use client::Bucket;
pub(crate) use flags::BucketFlags;
