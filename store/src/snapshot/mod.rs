//! Snapshots: the whole store, or the keys with one prefix, as a stream of bytes, and back into a new data directory; and etcd's both ways.
#[cfg(feature = "etcd")]
mod bolt;
#[cfg(feature = "etcd")]
mod etcd_export;
#[cfg(feature = "etcd")]
mod etcd_import;
#[cfg(feature = "etcd")]
mod etcd_rows;
#[cfg(feature = "etcd")]
mod etcd_window;
mod format;
mod restore;
mod status;
mod take;

#[cfg(feature = "etcd")]
pub use etcd_export::EtcdSnapshot;
pub use restore::{RestoreError, RestoreOptions, Restored, RestoredPlace, restore, restore_file};
pub use status::{
    SnapshotFormat, SnapshotStatus, snapshot_status, snapshot_status_of_stream, snapshot_versions,
};
pub use take::{SnapshotError, SnapshotRequest};
