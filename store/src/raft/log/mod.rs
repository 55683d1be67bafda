//! The Raft log: preallocated files that are used again and again, records with checksums, one loop that writes and syncs them.
//!
//! The log is the only synced write of the store. Appends queue up while a sync is under way and share the next one.
mod direct;
mod disk;
mod file;
mod flusher;
mod log_store;
mod record;
mod recovery;
mod tail;
#[cfg(test)]
mod tests;

#[cfg(not(feature = "sim"))]
pub(crate) use disk::Disk;
#[cfg(not(feature = "sim"))]
pub(crate) use disk::DiskFile;
pub(crate) use disk::OsDisk;
#[cfg(feature = "sim")]
pub use disk::{Disk, DiskFile};
pub(crate) use flusher::{LogConfig, LogFiles};
pub(crate) use log_store::LogStore;
#[cfg(any(test, fuzzing))]
pub(crate) use record::check_file;
