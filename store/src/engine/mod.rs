//! The tables: what RocksDB holds and how it is read and written. Every write here is unsynced; the Raft log is what makes it durable.
#[cfg(test)]
mod against_model;
mod commit;
mod compaction;
mod error;
mod history;
mod image;
mod open;
mod scan;
mod table_key;
mod tables;
mod version_record;

pub(crate) use commit::{AppliedMark, Group};
pub(crate) use compaction::CompactionStep;
pub(crate) use error::EngineError;
pub(crate) use history::{HistoryPage, HistoryRequest};
pub(crate) use image::{Image, ImageFiles};
pub(crate) use tables::{EngineView, StoredLeases, Tables};
