//! Taking a snapshot of a store that goes on working.
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;

use super::format::{Header, Writer};
use crate::Store;
use crate::api::{AuthError, Halt, prefix_end};
use crate::core::Core;
use crate::engine::{EngineError, Moment};
use crate::mvcc::KeyRange;
use crate::stop::Stopped;

/// So many pieces of a snapshot are read ahead of whoever takes them.
const PIECES_AHEAD: usize = 4;

/// What to take a snapshot of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// Only the keys that start with this, with their history and leases; users and roles are left out then. None takes everything.
    pub prefix: Option<Bytes>,
}

/// Why a snapshot was not taken, or broke off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The caller is no administrator.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The tables could not be read.
    #[error("{0}")]
    Engine(String),
    /// The system refused a thread or a file.
    #[error("{what}: {message}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The answer.
        message: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The store stopped.
    #[error(transparent)]
    Halted(#[from] Halt),
}

impl From<Stopped> for SnapshotError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Closed => Self::Closed,
            Stopped::Halted(halt) => Self::Halted(halt),
        }
    }
}

impl Store {
    /// Takes a snapshot: all of the store, or the keys with one prefix, as they are when the stream is first polled. The store goes on meanwhile;
    /// the memory needed does not grow with the data. [`restore`](crate::restore) makes a data directory of the bytes again.
    ///
    /// The pieces together are one snapshot only if the stream ends without error: its end carries the checksum of the whole.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use mainstay_store::{Config, RestoreOptions, SnapshotRequest, Store, restore};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let config = |name: &str| Config { dir: dir.path().join(name), disk_reserve_bytes: 1 << 20, ..Config::default() };
    /// let store = Store::open(config("old")).await?;
    /// store.put("a", "1").await?;
    /// let pieces: Vec<_> = store.snapshot(SnapshotRequest::default()).try_collect().await?;
    /// store.put("a", "2").await?;
    /// store.close().await?;
    ///
    /// restore(&pieces.concat()[..], &dir.path().join("new"), &RestoreOptions::default())?;
    /// let store = Store::open(config("new")).await?;
    /// assert_eq!(store.get("a").await?.ok_or("it was there")?.value, "1");
    /// # store.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(
        &self,
        request: SnapshotRequest,
    ) -> impl Stream<Item = Result<Bytes, SnapshotError>> + Send + use<> {
        let store = self.clone();
        stream::once(async move {
            let core = Arc::clone(store.core());
            store.check_admin().map(|()| pieces(&core, move |core, sink| write(core, &request, sink)))
        })
        .map(|started| match started {
            Ok(pieces) => pieces.left_stream(),
            Err(refused) => stream::iter([Err(refused.into())]).right_stream(),
        })
        .flatten()
    }
}

/// Takes pieces; false if nobody wants more.
pub(super) type Sink<'s> = dyn FnMut(Bytes) -> Result<(), Broken> + 's;

/// Whoever took the snapshot went away, or the store stops.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken;

/// Runs `work` on a thread of its own and streams what it gives to its sink. The thread ends with the stream, and with the store.
pub(super) fn pieces<W>(
    core: &Arc<Core>,
    work: W,
) -> impl Stream<Item = Result<Bytes, SnapshotError>> + Send + use<W>
where
    W: FnOnce(&Core, &mut Sink<'_>) -> Result<Result<(), Broken>, SnapshotError> + Send + 'static,
{
    let (outlet, receive) = mpsc::channel(PIECES_AHEAD);
    let shared = Arc::clone(core);
    let started = std::thread::Builder::new().name("store-snapshot".into()).spawn({
        let outlet = outlet.clone();
        move || {
            let stop = shared.stop.token().clone();
            let runtime = shared.runtime.clone();
            let give = |piece: Result<Bytes, SnapshotError>| {
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => Err(Broken),
                        taken = outlet.send(piece) => taken.map_err(|_gone| Broken),
                    }
                })
            };
            let done = work(&shared, &mut |piece| give(Ok(piece)));
            let failure = match done {
                Ok(Ok(())) => return,
                Ok(Err(Broken)) => shared.stop.check().err().map(SnapshotError::from),
                Err(error) => Some(error),
            };
            if let Some(failure) = failure {
                // The stop is what it tells of, so it does not wait for the reader.
                drop(outlet.try_send(Err(failure)));
            }
        }
    });
    if let Err(error) = started {
        let failed = SnapshotError::Io { what: "starting a thread", message: error.to_string() };
        drop(outlet.try_send(Err(failed)));
    }
    drop(outlet);
    stream::unfold(receive, |mut receive| async move { Some((receive.recv().await?, receive)) })
}

fn write(
    core: &Core,
    request: &SnapshotRequest,
    sink: &mut Sink<'_>,
) -> Result<Result<(), Broken>, SnapshotError> {
    core.stop.check()?;
    let look = |moment: &Moment<'_>| write_moment(moment, core.cluster_id, request, sink);
    core.tables.with_moment(look).map_err(|error| SnapshotError::Engine(error.to_string()))
}

fn write_moment(
    moment: &Moment<'_>,
    cluster_id: u64,
    request: &SnapshotRequest,
    sink: &mut Sink<'_>,
) -> Result<Result<(), Broken>, EngineError> {
    let mark = moment.mark();
    let header = Header {
        cluster_id,
        revision: mark.revision,
        floor: mark.floor,
        index: mark.index.unwrap_or(0),
        term: mark.term,
        prefix: request.prefix.clone(),
    };
    let mut writer = match Writer::new(&header, sink) {
        Ok(writer) => writer,
        Err(broken) => return Ok(Err(broken)),
    };
    let end = request.prefix.as_ref().map(|prefix| prefix_end(prefix));
    let range = request.prefix.as_ref().map(|prefix| KeyRange { key: prefix, end: end.as_deref() });
    let mut broken = None;
    moment.rows(range, &mut |key, value| match writer.row(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(gone) => {
            broken = Some(gone);
            ControlFlow::Break(())
        }
    })?;
    Ok(match broken {
        Some(broken) => Err(broken),
        None => writer.finish(),
    })
}
