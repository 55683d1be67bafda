//! Images on this node: references, the store of manifests and unpacked layers, import, pull, and the overlay mounts
//! that containers run on. Image content comes from strangers: every decoder here is bounded and total, and nothing
//! an image says may touch a path outside its own layer directory.

mod archive;
mod blob;
mod image;
mod layer;
mod manifest;
mod overlay;
mod pull;
mod reference;
mod rootfs;
mod service;
mod store;

pub(crate) use image::ImageConfig;
pub(crate) use overlay::{mount as mount_overlay, unmount};
pub use reference::Reference;
pub(crate) use rootfs::{Account, resolve_user};
pub use service::Images;
pub(crate) use service::nanoseconds;
pub use store::ImageRecord;
pub(crate) use store::{Layer, add_usage};
