//! When a write passed the stations of its way: for an embedder that traces it.
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Store;

/// The longest note that goes with a write to the leader, in bytes.
pub(crate) const NOTE_BYTES_MAX: usize = 256;

/// When one write passed the stations of its way, filled in by the store while it goes. Make a new one for each write, and
/// give it to [`Store::timed`].
#[derive(Debug, Default)]
pub struct WriteTimes {
    stations: Mutex<Stations>,
    note: Option<Bytes>,
}

/// What the embedder of a leader does with the stations of writes that came from other members with a note.
///
/// It is called by a task of the store, after the write was applied: it must be quick, and never block.
#[derive(Clone)]
pub struct ForwardedWrites(Arc<Told>);

type Told = dyn Fn(&[u8], &WriteTimes) + Send + Sync;

impl ForwardedWrites {
    /// Has `told` called with the note, and with what the write passed on the leader.
    pub fn new(told: impl Fn(&[u8], &WriteTimes) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn tell(&self, note: &[u8], times: &WriteTimes) {
        (self.0)(note, times);
    }
}

impl fmt::Debug for ForwardedWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForwardedWrites")
    }
}

#[derive(Debug, Default, Clone)]
struct Stations {
    proposed: Option<Instant>,
    /// The leader that it was sent to.
    forwarded: Option<(Instant, u64)>,
    taken: Option<Instant>,
    synced: Option<(Instant, Instant)>,
    sync_entries: usize,
    sync_bytes: usize,
    applied: Option<(Instant, Instant)>,
    apply_entries: usize,
    answered: Option<Instant>,
}

/// One stretch of a write's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// What happened, see [`WriteTimes::stretches`].
    pub name: &'static str,
    /// From when.
    pub began: Instant,
    /// To when.
    pub ended: Instant,
    /// How much of what it was: `entries` and `bytes` of the group that it shared, the `leader` it went to.
    pub figures: Vec<(&'static str, i64)>,
}

impl WriteTimes {
    /// With a note that goes to the leader where the write is sent there, of 256 bytes at most (a longer one does not): its embedder is told
    /// of the write's way there under that note ([`ForwardedWrites`]).
    pub fn with_note(note: impl Into<Bytes>) -> Self {
        let note = Some(note.into()).filter(|note| note.len() <= NOTE_BYTES_MAX);
        Self { note, ..Self::default() }
    }

    pub(crate) fn note(&self) -> Option<&Bytes> {
        self.note.as_ref()
    }

    /// The stretches that it has gone, in order:
    ///
    /// - `raft forward`: to the leader and back, where this member does not lead; the leader's own stretches are told there, see
    ///   [`WriteTimes::with_note`].
    /// - `raft propose`: until the log takes the entry up: consensus, and the sync of the group before it.
    /// - `raft log sync`: the entry's group is written and synced.
    /// - `raft commit`: until it is committed (a majority of the members has it) and its turn to be applied has come.
    /// - `raft apply`: its group is applied and made visible, to reads and watches.
    ///
    /// Those that did not happen here, or not to the end, are left out.
    pub fn stretches(&self) -> Vec<Stretch> {
        let at = self.stations.lock().clone();
        let Some(proposed) = at.proposed else { return Vec::new() };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let mut all = Vec::new();
        let mut add = |name, span: Option<(Instant, Instant)>, figures| {
            if let Some((began, ended)) = span {
                all.push(Stretch { name, began, ended, figures });
            }
        };
        if let Some((began, leader)) = at.forwarded {
            // Members' numbers are shown in hexadecimal elsewhere; as a figure it keeps its bits.
            add(
                "raft forward",
                at.answered.map(|ended| (began, ended)),
                vec![("leader", leader.cast_signed())],
            );
        }
        add("raft propose", at.taken.map(|taken| (proposed, taken)), Vec::new());
        let group = vec![("entries", count(at.sync_entries)), ("bytes", count(at.sync_bytes))];
        add("raft log sync", at.synced, group);
        let committed =
            at.synced.zip(at.applied).map(|((_, synced), (apply, _))| (synced, apply.max(synced)));
        add("raft commit", committed, Vec::new());
        add("raft apply", at.applied, vec![("entries", count(at.apply_entries))]);
        all
    }

    pub(crate) fn proposed(&self) {
        self.stations.lock().proposed.get_or_insert_with(Instant::now);
    }

    pub(crate) fn forwarded(&self, leader: u64) {
        self.stations.lock().forwarded.get_or_insert_with(|| (Instant::now(), leader));
    }

    /// The log writes its group from now on.
    pub(crate) fn taken(&self) {
        self.stations.lock().taken = Some(Instant::now());
    }

    pub(crate) fn synced(&self, span: (Instant, Instant), entries: usize, bytes: usize) {
        let mut at = self.stations.lock();
        at.synced = Some(span);
        (at.sync_entries, at.sync_bytes) = (entries, bytes);
    }

    pub(crate) fn applied(&self, span: (Instant, Instant), entries: usize) {
        let mut at = self.stations.lock();
        (at.applied, at.apply_entries) = (Some(span), entries);
    }

    pub(crate) fn answered(&self) {
        self.stations.lock().answered = Some(Instant::now());
    }
}

impl Store {
    /// A handle on the same store whose writes note in `times` when they pass what.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use mainstay_store::{Config, Store, WriteTimes};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(Config { dir: dir.path().into(), disk_reserve_bytes: 1 << 20, ..Config::default() }).await?;
    /// let times = Arc::new(WriteTimes::default());
    /// store.timed(&times).put("greeting", "hello").await?;
    /// let names: Vec<&str> = times.stretches().iter().map(|stretch| stretch.name).collect();
    /// assert_eq!(names, ["raft propose", "raft log sync", "raft commit", "raft apply"]);
    /// # store.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn timed(&self, times: &Arc<WriteTimes>) -> Self {
        let mut handle = self.clone();
        handle.times = Some(Arc::clone(times));
        handle
    }
}
