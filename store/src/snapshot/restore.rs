//! A snapshot becomes a data directory.
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::format::{FormatError, Frame, MAGIC, Source, each_row};
use crate::api::{InitialMember, OpenError, Revision};
use crate::data_dir::{DataDir, Founder};
use crate::engine::{EngineError, TablesBuilder};
use crate::raft::{MemberNode, identity};

/// How to restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// The cluster that the data belongs to from now on; none makes up a new one. Never that of members that still run.
    pub cluster_id: Option<u64>,
    /// This member; none makes up a new one.
    pub member_id: Option<u64>,
    /// Its place in a new cluster of several; none for a member that stays alone. It decides the two identifiers before.
    pub place: Option<RestoredPlace>,
    /// Restore the store as it was at this revision, which must lie in the history that the snapshot holds. Leases that had been revoked since
    /// do not come back: their keys live until they are deleted.
    pub revision: Option<Revision>,
    /// Let the revision jump forward by this much, so that watchers of the lost store never see a revision twice.
    pub bump_revision: u64,
    /// Make the revision that is reached in this way the oldest that can be read: watchers of the lost store are told to read anew.
    pub mark_compacted: bool,
    /// Take a database of etcd's that has no checksum at its end, such as `member/snap/db` (with the feature `etcd`).
    pub skip_hash_check: bool,
    /// Clusters whose place the restored one takes: a member of theirs that comes back is turned away, and stops.
    pub supersedes: Vec<u64>,
}

/// Which member of a new cluster is restored. The same snapshot is restored for each of them, with the same list and token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredPlace {
    /// The member's name: its entry in `initial`.
    pub name: String,
    /// Every member of the new cluster, this one included.
    pub initial: Vec<InitialMember>,
    /// Keeps clusters apart that have the same addresses.
    pub token: String,
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The store's revision.
    pub revision: Revision,
    /// The oldest that can be read; zero if all can.
    pub floor: Revision,
    /// The live keys.
    pub keys: u64,
    /// The cluster that the data belongs to.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
}

/// Why a snapshot was not restored, or not read. No store is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes are no snapshot, or are damaged.
    #[error("the snapshot cannot be used: {what}")]
    Snapshot {
        /// What is wrong with them, and where.
        what: String,
    },
    /// The snapshot could not be read.
    #[error("reading the snapshot")]
    Read(#[source] std::io::Error),
    /// The revision asked for is not in the snapshot's history.
    #[error("revision {wanted} is not in the snapshot, which holds {floor} to {newest}")]
    Revision {
        /// The revision asked for.
        wanted: Revision,
        /// The oldest there.
        floor: Revision,
        /// The newest there.
        newest: Revision,
    },
    /// The directory is not empty, in use, or cannot be written.
    #[error(transparent)]
    Dir(#[from] OpenError),
    /// The tables could not be written.
    #[error("{attempt} in {}: {message}", dir.display())]
    Engine {
        /// The directory.
        dir: PathBuf,
        /// What was attempted.
        attempt: &'static str,
        /// The engine's answer.
        message: String,
    },
}

impl From<FormatError> for RestoreError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Io(source) => Self::Read(source),
            other => Self::Snapshot { what: other.to_string() },
        }
    }
}

/// What was put into new tables, before it is cut to a revision.
pub(super) struct Filled {
    pub(super) revision: Revision,
    pub(super) floor: Revision,
}

/// Makes a new data directory of a snapshot that [`Store::snapshot`](crate::Store::snapshot) gave. Blocks.
///
/// The directory must be empty or absent. It becomes a store of one member; each member of a new cluster restores the same snapshot.
///
/// # Errors
/// Any bytes give a store or an error; what is damaged is refused. Whatever was written by a restore that failed is no store.
pub fn restore(
    mut snapshot: impl Read,
    dir: &Path,
    options: &RestoreOptions,
) -> Result<Restored, RestoreError> {
    let mut magic = [0; MAGIC.len()];
    snapshot.read_exact(&mut magic).map_err(|_short| FormatError::Magic)?;
    if magic != MAGIC {
        return Err(FormatError::Magic.into());
    }
    fill(dir, options, |tables| own_rows(BufReader::with_capacity(1 << 20, snapshot), dir, tables))
}

/// Makes a new data directory of a file: a snapshot of this store, or (with the feature `etcd`) one of etcd's. Blocks.
///
/// # Errors
/// As [`restore`]'s.
pub fn restore_file(
    file: &mut std::fs::File,
    dir: &Path,
    options: &RestoreOptions,
) -> Result<Restored, RestoreError> {
    match sniff(file)? {
        Snapshot::Ours => {
            fill(dir, options, |tables| own_rows(BufReader::with_capacity(1 << 20, file), dir, tables))
        }
        #[cfg(feature = "etcd")]
        Snapshot::Etcd => {
            fill(dir, options, |tables| super::etcd_import::rows(file, options.skip_hash_check, dir, tables))
        }
    }
}

/// What a file is.
pub(super) enum Snapshot {
    /// Ours; the file stands after the magic bytes.
    Ours,
    /// etcd's.
    #[cfg(feature = "etcd")]
    Etcd,
}

pub(super) fn sniff(file: &mut std::fs::File) -> Result<Snapshot, RestoreError> {
    let mut magic = [0; MAGIC.len()];
    if file.read_exact(&mut magic).is_ok() && magic == MAGIC {
        return Ok(Snapshot::Ours);
    }
    #[cfg(feature = "etcd")]
    if super::bolt::is_database(file) {
        return Ok(Snapshot::Etcd);
    }
    Err(FormatError::Magic.into())
}

pub(super) fn engine_error(dir: &Path) -> impl Fn(EngineError) -> RestoreError + '_ {
    move |error| RestoreError::Engine { dir: dir.to_owned(), attempt: error.attempt, message: error.message }
}

/// The identifiers of cluster and member, and the members of the cluster.
type Place = ((Option<u64>, Option<u64>), Vec<Founder>);

fn place(options: &RestoreOptions) -> Result<Place, OpenError> {
    let Some(RestoredPlace { name, initial, token }) = &options.place else {
        return Ok(((options.cluster_id, options.member_id), Vec::new()));
    };
    let members = identity::founders(name, initial, token)?;
    let cluster_id = identity::cluster_id(members.iter().map(|(id, _)| *id));
    let own = members.iter().find(|(_, node)| node.name == *name).map(|(id, _)| *id);
    let founder = |(id, node): (u64, MemberNode)| Founder { id, name: node.name, peer_urls: node.peer_urls };
    Ok(((Some(cluster_id), own), members.into_iter().map(founder).collect()))
}

fn fill(
    path: &Path,
    options: &RestoreOptions,
    rows: impl FnOnce(&mut TablesBuilder) -> Result<Filled, RestoreError>,
) -> Result<Restored, RestoreError> {
    let (ids, founders) = place(options)?;
    let unfinished = DataDir::prepare(path)?;
    let engine = engine_error(path);
    let mut tables = TablesBuilder::create(&unfinished.tables()).map_err(&engine)?;
    let Filled { mut revision, mut floor } = rows(&mut tables)?;
    if let Some(wanted) = options.revision {
        if wanted < floor.max(Revision::INITIAL) || wanted > revision {
            return Err(RestoreError::Revision { wanted, floor, newest: revision });
        }
        tables.cut(wanted).map_err(&engine)?;
        revision = wanted;
    }
    revision = Revision(revision.0.saturating_add_unsigned(options.bump_revision));
    if options.mark_compacted {
        floor = revision;
    }
    let keys = tables.live_keys().map_err(&engine)?;
    tables.finish(revision, floor).map_err(&engine)?;
    let (cluster_id, member_id) = unfinished.finish(ids.0, ids.1, founders, &options.supersedes)?;
    Ok(Restored { revision, floor, keys, cluster_id, member_id })
}

fn own_rows(reader: impl Read, dir: &Path, tables: &mut TablesBuilder) -> Result<Filled, RestoreError> {
    let (mut source, header) = Source::open(reader)?;
    let engine = engine_error(dir);
    let mut rows = 0_u64;
    loop {
        match source.frame()? {
            Frame::Rows(payload) => {
                let mut foreign = false;
                each_row(&payload, |key, value| {
                    rows += 1;
                    foreign |= !tables.put_row(key, value).map_err(&engine)?;
                    Ok::<(), RestoreError>(())
                })?
                .map_err(|error| source.damaged(error.to_string()))?;
                if foreign {
                    return Err(source.damaged("a row that no store has".into()).into());
                }
            }
            Frame::End(count) if count == rows => break,
            Frame::End(_) => return Err(source.damaged("rows are missing".into()).into()),
        }
    }
    if header.prefix.is_some() {
        // Leases of other keys came along; attachments are exact.
        tables.attach().map_err(&engine)?;
    }
    Ok(Filled { revision: header.revision, floor: header.floor })
}
