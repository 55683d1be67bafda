//! The store as a database of etcd's: what `etcdctl snapshot save` expects.
//!
//! etcd orders rows by revision, we by key: see [`etcd_window`](super::etcd_window). The file is written to the data directory, unnamed, and
//! streamed from there: its first page tells where its last pages are.
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use mainstay_proto_wire::etcd::authpb;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::bolt::BoltWriter;
use super::etcd_rows::{self as names, Lease, revision};
use super::etcd_window;
use super::take::{Broken, Sink, SnapshotError, pieces};
use crate::Store;
use crate::api::Access;
use crate::auth::{RoleRecord, UserRecord};
use crate::core::Core;
use crate::engine::{EngineError, Moment};

const PIECE_BYTES: usize = 256 << 10;
const SUM_BYTES: u64 = 32;
/// The etcd whose layout this is; its tools look for it.
const STORAGE_VERSION: &[u8] = b"3.6.0";

/// A snapshot in etcd's format.
pub struct EtcdSnapshot<S> {
    /// The size of all pieces together.
    pub bytes: u64,
    /// The bytes: a database, then its SHA-256.
    pub pieces: S,
}

impl Store {
    /// Takes a snapshot in etcd's format, as it is now. Needs room on the disk for the whole; memory does not grow with the data.
    pub async fn etcd_snapshot(
        &self,
    ) -> Result<EtcdSnapshot<impl Stream<Item = Result<Bytes, SnapshotError>> + Send + use<>>, SnapshotError>
    {
        self.check_admin()?;
        let (size, told) = tokio::sync::oneshot::channel();
        let mut pieces = Box::pin(pieces(self.core(), move |core, sink| write(core, size, sink)));
        match told.await {
            Ok(bytes) => Ok(EtcdSnapshot { bytes, pieces }),
            // It failed before its size was known, and says why.
            Err(_dropped) => Err(match pieces.next().await {
                Some(Err(error)) => error,
                _ => SnapshotError::Closed,
            }),
        }
    }
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> SnapshotError {
    move |error| SnapshotError::Io { what, message: error.to_string() }
}

fn write(
    core: &Core,
    size: tokio::sync::oneshot::Sender<u64>,
    sink: &mut Sink<'_>,
) -> Result<Result<(), Broken>, SnapshotError> {
    core.stop.check()?;
    let mut file = unnamed(core).map_err(io_error("making a file for the snapshot"))?;
    let mut failed = None;
    let bytes = core
        .tables
        .with_moment(|moment| {
            let written = Export { core, moment, out: BoltWriter::new(Guarded::new(core, &file)) }.run();
            Ok(written.unwrap_or_else(|error| {
                failed = Some(error);
                0
            }))
        })
        .map_err(|error| SnapshotError::Engine(error.to_string()))?;
    if let Some(error) = failed {
        return Err(error);
    }
    if size.send(bytes + SUM_BYTES).is_err() {
        return Ok(Err(Broken));
    }
    let read = io_error("reading the snapshot's file");
    file.seek(SeekFrom::Start(0)).map_err(&read)?;
    let mut digest = Sha256::new();
    let mut left = bytes;
    while left > 0 {
        let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES))];
        file.read_exact(&mut piece).map_err(&read)?;
        left -= piece.len() as u64;
        digest.update(&piece);
        if let Err(broken) = sink(piece.into()) {
            return Ok(Err(broken));
        }
    }
    Ok(sink(Bytes::copy_from_slice(&digest.finalize())))
}

/// A file that is gone when it is closed, even by a crash.
fn unnamed(core: &Core) -> io::Result<File> {
    let name = format!("snapshot-{:016x}.tmp", crate::platform::random("snapshot"));
    let path = core.tables.path().with_file_name(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Writes to the file as long as the disk has room and the store runs.
struct Guarded<'g> {
    core: &'g Core,
    file: BufWriter<&'g File>,
    since_check: usize,
}

impl<'g> Guarded<'g> {
    fn new(core: &'g Core, file: &'g File) -> Self {
        Self { core, file: BufWriter::with_capacity(1 << 20, file), since_check: 0 }
    }
}

impl Write for Guarded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.since_check += bytes.len();
        if self.since_check > 16 << 20 {
            self.since_check = 0;
            if self.core.space.is_low() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.core.stop.check().map_err(|_stopped| io::Error::from(io::ErrorKind::Interrupted))?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl io::Seek for Guarded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Either the tables or the file failed.
pub(super) enum Failure {
    Engine(EngineError),
    File(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

struct Export<'e> {
    core: &'e Core,
    moment: &'e Moment<'e>,
    out: io::Result<BoltWriter<Guarded<'e>>>,
}

impl Export<'_> {
    /// Writes all buckets, in the order of their names.
    fn run(self) -> Result<u64, SnapshotError> {
        let stop = Arc::clone(&self.core.stop);
        self.buckets().map_err(|failure| match (stop.check(), failure) {
            (Err(stopped), _) => stopped.into(),
            (Ok(()), Failure::Engine(error)) => SnapshotError::Engine(error.to_string()),
            (Ok(()), Failure::File(error)) => io_error("writing the snapshot's file")(error),
        })
    }

    fn buckets(self) -> Result<u64, Failure> {
        let mut out = self.out?;
        let state = self.moment.auth()?;
        out.bucket(b"alarm")?;
        out.bucket(names::AUTH)?;
        out.entry(names::AUTH_ENABLED, &[u8::from(state.enabled)])?;
        out.entry(names::AUTH_REVISION, &state.revision.to_be_bytes())?;
        out.bucket(names::ROLES)?;
        for (name, role) in state.roles() {
            out.entry(name.as_bytes(), &role_row(name, role))?;
        }
        out.bucket(names::USERS)?;
        for (name, user) in state.users() {
            out.entry(name.as_bytes(), &user_row(name, user))?;
        }
        out.bucket(b"cluster")?;
        out.bucket(names::KEY)?;
        etcd_window::each(self.moment, &mut |key, row| Ok(out.entry(key, row)?))?;
        out.bucket(names::LEASE)?;
        for (id, ttl) in self.moment.leases()? {
            let lease = Lease { id: id.0, ttl: i64::try_from(ttl).unwrap_or(i64::MAX), remaining_ttl: 0 };
            out.entry(&id.0.to_be_bytes(), &lease.encode_to_vec())?;
        }
        out.bucket(b"members")?;
        out.bucket(b"members_removed")?;
        out.bucket(names::META)?;
        let mark = self.moment.mark();
        out.entry(b"consistent_index", &mark.index.unwrap_or(0).to_be_bytes())?;
        if mark.floor.0 > 0 {
            let floor = revision(mark.floor.0, 0, false);
            out.entry(names::FINISHED_COMPACTION, &floor)?;
            out.entry(names::SCHEDULED_COMPACTION, &floor)?;
        }
        out.entry(b"storageVersion", STORAGE_VERSION)?;
        out.entry(b"term", &mark.term.to_be_bytes())?;
        Ok(out.finish()?)
    }
}

fn role_row(name: &str, role: &RoleRecord) -> Vec<u8> {
    use authpb::permission::Type;
    let permission = |permission: &crate::api::Permission| authpb::Permission {
        perm_type: match permission.access {
            Access::Read => Type::Read,
            Access::Write => Type::Write,
            Access::ReadWrite => Type::Readwrite,
        }
        .into(),
        key: permission.key.clone(),
        range_end: permission.range_end.clone().unwrap_or_default(),
    };
    let key_permission = role.permissions.iter().map(permission).collect();
    authpb::Role { name: Bytes::copy_from_slice(name.as_bytes()), key_permission }.encode_to_vec()
}

fn user_row(name: &str, user: &UserRecord) -> Vec<u8> {
    authpb::User {
        name: Bytes::copy_from_slice(name.as_bytes()),
        password: Bytes::copy_from_slice(&user.hash),
        roles: user.roles.clone(),
        options: Some(authpb::UserAddOptions { no_password: user.no_password }),
    }
    .encode_to_vec()
}
