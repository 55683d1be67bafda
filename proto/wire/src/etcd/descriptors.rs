//! The files described, for those who work by description.

/// A `FileDescriptorSet` of all of these files: for reflection and for the JSON mapping.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.descriptors"));
