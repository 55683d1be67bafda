//! From a CRI container configuration and an image to an OCI runtime specification. Pure: what must be looked up on
//! the node (users, devices, profiles) is looked up by the caller and handed in.

mod build;
mod capabilities;
mod mounts;
mod seccomp;

pub(crate) use build::{Device, Facts, Namespaces, PidNamespace, build};
pub(crate) use capabilities::capability_set;
pub(crate) use seccomp::{default_profile, parse_profile};
