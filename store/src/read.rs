//! Reads: at which revision, on which thread, and that what is read is whole.
use std::sync::Arc;

use bytes::Bytes;

use crate::api::{
    ClusterError, KeyValue, RangeError, RangeOrder, RangeRequest, RangeResponse, Revision, Status, Txn,
    TxnResponse, WriteError,
};
use crate::core::Core;
use crate::engine::EngineView;
use crate::mvcc::{
    ViewError, check_range, is_serializable, one_key_response, range_page, range_response, read_txn,
};
use crate::stop::Stopped;

/// A page of a streamed range has at most so many keys.
const PAGE_KEYS_MAX: usize = 1000;
/// And ends once it has so many bytes.
const PAGE_BYTES_MAX: usize = 2 << 20;

impl Core {
    pub(crate) fn check_read(&self) -> Result<(), RangeError> {
        self.stop.check().map_err(|stopped| match stopped {
            Stopped::Closed => RangeError::Closed,
            Stopped::Halted(halt) => RangeError::Halted(halt),
        })
    }

    /// Resolves when this member has applied all that was acknowledged before the call: at once, on a member alone.
    pub(crate) async fn read_barrier(self: &Arc<Self>) -> Result<(), RangeError> {
        self.catch_up(false).await
    }

    /// Waits until this member's state is as new as the cluster's, unless its own will do.
    async fn catch_up(&self, serializable: bool) -> Result<(), RangeError> {
        self.check_read()?;
        if serializable {
            return Ok(());
        }
        self.linearize().await.map_err(|error| {
            self.meters.read_failed();
            match error {
                ClusterError::Closed => RangeError::Closed,
                ClusterError::Halted(halt) => RangeError::Halted(halt),
                ClusterError::Timeout => RangeError::Timeout,
                _ => RangeError::NoLeader,
            }
        })
    }

    /// The revision to read at, if the request's can be read.
    fn at(&self, asked: Option<Revision>) -> Result<Revision, RangeError> {
        // The floor first: it never passes a revision that was current later.
        let floor = self.tables.floor();
        let current = self.tables.revision();
        let Some(wanted) = asked.filter(|asked| asked.0 > 0) else { return Ok(current) };
        if wanted > current {
            return Err(RangeError::FutureRevision { wanted, current });
        }
        if wanted < floor {
            return Err(RangeError::Compacted { wanted, floor });
        }
        Ok(wanted)
    }

    /// Whether a read at `at` that has ended saw everything: compaction deletes only below the floor, and only after it has raised it. A read
    /// of "now" that was overtaken is done again.
    fn is_whole(&self, at: Revision, asked: Option<Revision>) -> Result<bool, RangeError> {
        let floor = self.tables.floor();
        if at >= floor {
            return Ok(true);
        }
        match asked.filter(|asked| asked.0 > 0) {
            Some(wanted) => Err(RangeError::Compacted { wanted, floor }),
            None => Ok(false),
        }
    }

    /// Runs a read on a thread that may wait for the disk.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&EngineView<'_>) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, RangeError> {
        let core = Arc::clone(self);
        let done = self.pool.run(move || read(&EngineView::new(&core.tables, &core.leases))).await;
        match done {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                self.check_read()?;
                Err(RangeError::Engine(error.to_string()))
            }
            None => Err(RangeError::Closed),
        }
    }

    pub(crate) async fn get(self: &Arc<Self>, key: Bytes) -> Result<Option<KeyValue>, RangeError> {
        self.meters.range();
        self.catch_up(false).await?;
        Ok(self.get_now(&key).await?.0)
    }

    /// The live version of a key, and the revision that it was read at. From memory it is answered on the caller's thread.
    async fn get_now(self: &Arc<Self>, key: &Bytes) -> Result<(Option<KeyValue>, Revision), RangeError> {
        loop {
            self.check_read()?;
            let at = self.at(None)?;
            let found = match self.tables.get_at(key, at, true) {
                Ok(found) => found,
                Err(Some(error)) => return Err(RangeError::Engine(error.to_string())),
                Err(None) => {
                    let (tables, key) = (Arc::clone(&self.tables), key.clone());
                    let read = move |_: &EngineView<'_>| {
                        tables.get_at(&key, at, false).map_err(|error| {
                            ViewError(error.map_or_else(String::new, |error| error.to_string()))
                        })
                    };
                    self.blocking(read).await?
                }
            };
            if self.is_whole(at, None)? {
                return Ok((found, at));
            }
        }
    }

    pub(crate) async fn range(self: &Arc<Self>, request: RangeRequest) -> Result<RangeResponse, RangeError> {
        check_range(&request)?;
        self.meters.range();
        self.catch_up(request.serializable).await?;
        let now = request.revision.is_none_or(|revision| revision.0 <= 0);
        if now && request.range_end.is_none() && request.bounds.is_none() {
            let (found, revision) = self.get_now(&request.key).await?;
            return Ok(one_key(&request, found, revision));
        }
        let request = Arc::new(request);
        loop {
            self.check_read()?;
            let at = self.at(request.revision)?;
            if let Some(response) = self.one_key_from_memory(&request, at)? {
                if self.is_whole(at, request.revision)? {
                    return Ok(response);
                }
                continue;
            }
            let wanted = Arc::clone(&request);
            let mut response = self.blocking(move |view| range_response(view, &wanted, at)).await?;
            response.revision = self.answered(&request, at);
            if self.is_whole(at, request.revision)? {
                return Ok(response);
            }
        }
    }

    /// The revision that an answer names. Read as of now, it is exactly the revision that was read: a watch goes on from there.
    fn answered(&self, request: &RangeRequest, at: Revision) -> Revision {
        match request.revision.filter(|asked| asked.0 > 0) {
            None => at,
            Some(_) => self.tables.revision(),
        }
    }

    /// The answer to a request for one key, if no disk has to be waited for: a thread would cost more than the read.
    fn one_key_from_memory(
        &self,
        request: &RangeRequest,
        at: Revision,
    ) -> Result<Option<RangeResponse>, RangeError> {
        if request.range_end.is_some() {
            return Ok(None);
        }
        match self.tables.get_at(&request.key, at, true) {
            Ok(found) => Ok(Some(one_key_response(found.as_ref(), request, self.answered(request, at)))),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(RangeError::Engine(error.to_string())),
        }
    }

    /// One page of a range, and the request for the rest.
    pub(crate) async fn range_page(
        self: &Arc<Self>,
        request: RangeRequest,
    ) -> Result<(RangeResponse, Option<RangeRequest>), RangeError> {
        check_range(&request)?;
        self.meters.range();
        if request.order.is_some_and(|order| order != RangeOrder::default()) {
            // Nothing is known about the first keys before the last was read.
            return Ok((self.range(request).await?, None));
        }
        self.catch_up(request.serializable).await?;
        loop {
            self.check_read()?;
            let at = self.at(request.revision)?;
            let limit = if request.limit == 0 { PAGE_KEYS_MAX } else { request.limit.min(PAGE_KEYS_MAX) };
            let wanted = RangeRequest { limit, uncounted: true, ..request.clone() };
            let mut page = self.blocking(move |view| range_page(view, &wanted, at, PAGE_BYTES_MAX)).await?;
            if !self.is_whole(at, request.revision)? {
                continue;
            }
            page.revision = at;
            let rest = rest_of(&request, &mut page, at);
            return Ok((page, rest));
        }
    }

    pub(crate) async fn read_txn(self: &Arc<Self>, txn: Txn) -> Result<TxnResponse, WriteError> {
        let refused = |error: RangeError| match error {
            RangeError::Closed => WriteError::Closed,
            RangeError::Halted(halt) => WriteError::Halted(halt),
            RangeError::NoLeader => WriteError::NoLeader,
            RangeError::Timeout => WriteError::Timeout,
            other => WriteError::Read(other.to_string()),
        };
        self.meters.range();
        self.catch_up(is_serializable(&txn)).await.map_err(refused)?;
        let txn = Arc::new(txn);
        loop {
            self.check()?;
            let wanted = Arc::clone(&txn);
            let read = move |view: &EngineView<'_>| {
                use crate::mvcc::View as _;
                Ok((view.revision(), read_txn(view, &wanted)?))
            };
            let (at, answer) = self.blocking(read).await.map_err(refused)?;
            // Ranges at older revisions were checked against the floor that the view began with.
            let lowest = txn.lowest_revision().map_or(at, |lowest| lowest.min(at));
            if lowest >= self.tables.floor() || answer.is_err() {
                return answer;
            }
        }
    }

    pub(crate) async fn status(self: &Arc<Self>) -> Result<Status, RangeError> {
        self.check_read()?;
        let core = Arc::clone(self);
        let read = move |_: &EngineView<'_>| {
            Ok((core.tables.size_bytes(), core.tables.live_bytes(), core.space.is_low()))
        };
        let (db_size_bytes, live_bytes, no_space) = self.blocking(read).await?;
        let leadership = *self.member.leadership().borrow();
        Ok(Status {
            revision: self.tables.revision(),
            compacted: self.tables.floor(),
            db_size_bytes,
            db_size_in_use_bytes: live_bytes.min(db_size_bytes),
            quota_bytes: self.quota.max_bytes(),
            log_size_bytes: self.log_size_bytes(),
            applied_index: self.queue.applied_index().unwrap_or(0),
            term: leadership.term,
            raft_index: self.member.last_index(),
            leader: leadership.leader,
            is_learner: leadership.is_learner,
            watchers: self.hub.watchers(),
            leases: self.leases.len(),
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            no_space,
            alarms: self.tables.alarms().iter().copied().collect(),
        })
    }
}

/// The answer to a request for one key as it is now.
fn one_key(request: &RangeRequest, found: Option<KeyValue>, revision: Revision) -> RangeResponse {
    let count = u64::from(found.is_some());
    let mut kvs: Vec<KeyValue> = found.into_iter().filter(|_| !request.count_only).collect();
    if request.keys_only {
        for kv in &mut kvs {
            kv.value = Bytes::new();
        }
    }
    RangeResponse { revision, kvs, more: false, count }
}

/// The request that goes on where a page ended; none if that was all. Corrects `more` where the limit ends the whole.
fn rest_of(request: &RangeRequest, page: &mut RangeResponse, at: Revision) -> Option<RangeRequest> {
    if !page.more || request.count_only {
        return None;
    }
    let limit = match request.limit {
        0 => 0,
        limit => match limit.saturating_sub(page.kvs.len()) {
            0 => return None,
            left => left,
        },
    };
    let mut key = page.kvs.last()?.key.to_vec();
    key.push(0);
    // This member has that revision: the rest need not ask again.
    Some(RangeRequest { key: key.into(), limit, revision: Some(at), serializable: true, ..request.clone() })
}
