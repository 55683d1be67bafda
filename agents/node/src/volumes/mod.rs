//! The files a pod is given: what goes into each volume ([`payload`], pure), and how it gets there.

mod atomic_writer;
mod empty_dir;
mod error;
mod host_path;
mod kind;
mod mounter;
mod ownership;
mod payload;
mod sub_path;
mod tokens;

pub(crate) use error::VolumeError;

pub(crate) use mounter::{MountRequest, container_mounts, mount_all, unmount_all};
pub(crate) use payload::ContentSources;
pub(crate) use tokens::Tokens;
