//! Snapshots of a whole cluster: how they are taken by hand and by the clock, kept, listed, and made a cluster again.
//!
//! One file holds the store's snapshot (docs/decisions/0014) behind what else a server needs (docs/decisions/0060). Keys are in
//! it only sealed.

mod bucket;
mod bundle;
mod download;
mod endpoint;
mod journal;
mod keys;
mod list;
mod meters;
mod moments;
mod place;
mod restore;
mod save;
mod schedule;
mod shelf;
mod take;

pub(crate) use bucket::BucketFlags;
pub(crate) use bundle::is_bundle;
pub(crate) use endpoint::SnapshotDesk;
pub(crate) use journal::ScheduleState;
#[cfg(test)]
pub(crate) use journal::{Failure, Taken};
pub(crate) use list::{print_list, print_status};
pub(crate) use meters::SnapshotMeters;
pub(crate) use moments::{note_moments, parse_moment};
pub(crate) use place::Place;
pub(crate) use restore::{RestoreRequest, restore};
pub(crate) use save::{SaveFrom, save};
pub(crate) use schedule::{SnapshotFlags, SnapshotSettings, run_schedule};
pub(crate) use shelf::shown;
