//! The tables: what RocksDB holds and how it is read and written. Every write here is unsynced; the Raft log is what makes it durable.
#[cfg(test)]
mod against_model;
mod alarms;
mod builder;
#[cfg(feature = "etcd")]
mod builder_rows;
mod commit;
mod compaction;
mod error;
mod group_view;
mod hash;
mod heads;
mod history;
mod image;
mod known_keys;
mod moment;
#[cfg(feature = "etcd")]
mod moment_versions;
mod open;
mod revision_row;
mod scan;
mod table_key;
mod tables;
mod version_record;
mod version_row;

#[cfg(any(test, fuzzing))]
pub(crate) use table_key::check_row;

pub(crate) use builder::TablesBuilder;
pub(crate) use commit::{AppliedMark, Group};
pub(crate) use compaction::CompactionStep;
pub(crate) use error::EngineError;
pub(crate) use group_view::GroupView;
pub(crate) use hash::HashRefused;
pub(crate) use history::{HistoryPage, HistoryRequest};
pub(crate) use image::{Image, ImageFiles};
pub(crate) use moment::Moment;
#[cfg(feature = "etcd")]
pub(crate) use moment_versions::MomentVersion;
pub(crate) use tables::{EngineView, StoredLeases, Tables};
pub(crate) use version_row::KeyVersions;
