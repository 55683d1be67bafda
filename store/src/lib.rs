#![doc = include_str!("../GUIDE.md")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "sizes and counts are far below the limits of their types; i64 revisions are never negative"
)]

mod acting;
mod api;
mod auth;
mod checkpoint;
mod cluster;
mod cluster_parts;
mod compactor;
mod core;
mod data_dir;
mod disk_space;
mod engine;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(test)]
mod fault_tests;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod golden;
mod lease;
mod maintenance;
mod metering;
mod mvcc;
mod platform;
mod quota;
mod raft;
mod read;
mod recovery;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod restored_tests;
mod snapshot;
mod stop;
mod store;
mod transport;
mod watch;
mod worker_pool;

pub use api::*;
pub use auth::Auth;
pub use data_dir::cluster_of;
#[doc(hidden)]
pub use platform::Platform;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub use platform::{SeededBug, seed_bug, seed_randomness};
#[cfg(feature = "sim")]
#[doc(hidden)]
pub use raft::log::{Disk, DiskFile};
pub use recovery::{RecoverError, RecoverOptions, Recovered, RecoveryPlan, plan_recovery, recover};
#[cfg(feature = "etcd")]
pub use snapshot::EtcdSnapshot;
pub use snapshot::{
    RestoreError, RestoreOptions, Restored, RestoredPlace, SnapshotError, SnapshotFormat, SnapshotRequest,
    SnapshotStatus, restore, restore_file, snapshot_status, snapshot_status_of_stream, snapshot_versions,
};
pub use store::Store;
#[cfg(feature = "tls")]
pub use transport::PeerTls;
pub use transport::{MemoryNetwork, MemoryTransport, TcpTransport, TransportError};
pub use watch::Watch;
