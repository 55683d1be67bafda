//! The handle that embedders hold.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};

use crate::api::{
    Caller, CloseError, ClusterError, CompactError, Config, DeleteRangeRequest, DeleteRangeResponse, Figures,
    KeyValue, Lease, LeaseError, LeaseGrant, LeaseId, LeaseTimeToLive, OpenError, PutRequest, PutResponse,
    RangeError, RangeRequest, RangeResponse, Revision, Status, Txn, TxnResponse, WatchError, WatchRequest,
    WriteError, WriteTimes,
};
use crate::auth::AuthState;
use crate::core::Core;
use crate::mvcc::{Command, Reply, check_delete, check_put, check_txn, is_read_only};
use crate::watch::Watch;

/// An open store: a cheap handle, to be cloned freely. All clones are one store.
///
/// When the last handle is dropped without [`Store::close`], the store closes in the background; nothing that was acknowledged is lost.
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<CloseOnDrop>,
    pub(crate) caller: Option<Caller>,
    /// Where its writes note when they pass what, if anybody wants to know.
    pub(crate) times: Option<Arc<WriteTimes>>,
}

#[derive(Debug)]
struct CloseOnDrop(Arc<Core>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if !self.0.stop.close() {
            return;
        }
        let core = Arc::clone(&self.0);
        self.0.runtime.spawn(async move {
            if let Err(error) = core.close().await {
                tracing::warn!(%error, "a dropped store did not close well");
            }
        });
    }
}

impl Store {
    /// Opens (or creates) the store in `config.dir` and takes its lock. Everything that was acknowledged before is there when this returns.
    ///
    /// Call it inside a tokio runtime with time enabled, which must outlive the store.
    ///
    /// # Errors
    /// Each [`OpenError`] says in one line what is wrong with the directory or the configuration. Nothing was changed then.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let core = Box::pin(Core::open(config)).await?;
        Ok(Self { handle: Arc::new(CloseOnDrop(core)), caller: None, times: None })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.handle.0
    }

    /// Reads keys. The answer is linearizable: it sees every write that was acknowledged before the call.
    ///
    /// # Errors
    /// [`RangeError::Compacted`] and [`RangeError::FutureRevision`] if the revision asked for cannot be read.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, RangeError> {
        self.guarded(Self::range_check(&request), self.core().range(request)).await
    }

    /// Reads a range page by page in constant memory, all of it as it was when the stream was first polled (or at `request.revision`).
    ///
    /// Every page carries that revision and says in `more` whether another follows; `count` is the number of its keys. `request.limit` bounds
    /// the whole. If history is compacted past the revision while the stream is read, it ends with [`RangeError::Compacted`].
    pub fn range_stream(
        &self,
        request: RangeRequest,
    ) -> impl Stream<Item = Result<RangeResponse, RangeError>> + Send + use<> {
        let store = self.clone();
        stream::try_unfold(Some(request), move |rest| {
            let store = store.clone();
            async move {
                let Some(request) = rest else { return Ok(None) };
                let check = Self::range_check(&request);
                let (page, rest) = store.guarded(check, store.core().range_page(request)).await?;
                Ok(Some((page, rest)))
            }
        })
    }

    /// One page of a streamed range, and the request for the rest; none if that was all.
    #[cfg(feature = "etcd")]
    pub(crate) async fn range_page(
        &self,
        request: RangeRequest,
    ) -> Result<(RangeResponse, Option<RangeRequest>), RangeError> {
        let check = Self::range_check(&request);
        self.guarded(check, self.core().range_page(request)).await
    }

    /// Reads one key.
    pub async fn get(&self, key: impl Into<Bytes> + Send) -> Result<Option<KeyValue>, RangeError> {
        let key = key.into();
        if key.is_empty() {
            return Err(RangeError::EmptyKey);
        }
        let check = Self::range_check(&RangeRequest::key(key.clone()));
        self.guarded(check, self.core().get(key)).await
    }

    /// Sets one key.
    pub async fn put(
        &self,
        key: impl Into<Bytes> + Send,
        value: impl Into<Bytes> + Send,
    ) -> Result<PutResponse, WriteError> {
        self.put_with(PutRequest::new(key, value)).await
    }

    /// Sets one key, with lease and previous value.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the write back: it may or may not happen. So it is for all writes.
    pub async fn put_with(&self, request: PutRequest) -> Result<PutResponse, WriteError> {
        check_put(&request, &self.core().limits)?;
        match self.propose(Command::Put(request)).await? {
            Reply::Put(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes one key.
    pub async fn delete(&self, key: impl Into<Bytes> + Send) -> Result<DeleteRangeResponse, WriteError> {
        self.delete_range(DeleteRangeRequest::key(key)).await
    }

    /// Deletes a range of keys in one revision. If nothing matches, nothing is written.
    pub async fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, WriteError> {
        check_delete(&request, &self.core().limits)?;
        match self.propose(Command::DeleteRange(request)).await? {
            Reply::Delete(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a transaction. One without writes is answered like a read.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, WriteError> {
        check_txn(&txn, &self.core().limits)?;
        if is_read_only(&txn) {
            let asked = txn.clone();
            let check =
                move |state: &AuthState, caller: &Caller| state.check_txn(caller, &asked, &|_| Vec::new());
            return Box::pin(self.guarded(check, self.core().read_txn(txn))).await;
        }
        match self.propose(Command::Txn(txn)).await? {
            Reply::Txn(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// Follows changes. Whatever is wrong with the request (a start that is compacted) shows at the first [`Watch::next`].
    ///
    /// A write that is acknowledged after this returns is seen by a watch without start.
    pub async fn watch(&self, request: WatchRequest) -> Watch {
        let allowed = self.check_watch(&request).await;
        Watch::open(Arc::clone(&self.core().hub), request, allowed.err().map(WatchError::Auth))
    }

    /// Grants a lease, with an identifier of the caller's or a new one. `ttl` is rounded up to whole seconds, at least one.
    pub async fn lease_grant(&self, ttl: Duration, id: Option<LeaseId>) -> Result<LeaseGrant, LeaseError> {
        let limits = &self.core().limits;
        let ttl_seconds = (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1);
        let max = limits.lease_ttl_max.as_secs();
        if ttl_seconds > max {
            return Err(LeaseError::TtlTooLarge { seconds: ttl_seconds, max });
        }
        let asked = id.filter(|id| !id.is_none());
        loop {
            let id = asked.unwrap_or_else(|| LeaseId((crate::platform::random("lease") >> 1).max(1) as i64));
            let command = Command::LeaseGrant { id, ttl_seconds, leases_max: limits.leases_max };
            match self.propose(command).await? {
                Reply::LeaseGranted { revision } => {
                    return Ok(LeaseGrant { id, ttl: Duration::from_secs(ttl_seconds), revision });
                }
                Reply::LeaseExists if asked.is_some() => return Err(LeaseError::Exists(id)),
                Reply::LeaseExists => {}
                Reply::LeasesFull => return Err(LeaseError::TooMany { max: limits.leases_max }),
                other => return Err(unexpected(&other).into()),
            }
        }
    }

    /// Ends a lease and deletes its keys in one revision, which is returned.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, LeaseError> {
        match self.propose(Command::LeaseRevoke(id)).await {
            Ok(Reply::LeaseRevoked { revision }) => Ok(revision),
            Ok(other) => Err(unexpected(&other).into()),
            Err(WriteError::LeaseNotFound(id)) => Err(LeaseError::NotFound(id)),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts the lease's time anew and returns it. Nothing is written: after a restart of the store every lease begins a whole time to live.
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<Duration, LeaseError> {
        self.core().check()?;
        if self.caller.is_some() {
            let keys = self.core().leases.keys(id);
            self.allowed(|state, caller| state.check_lease_write(caller, &keys))
                .await
                .map_err(WriteError::from)?;
        }
        let left = self.core().member.keep_alive(id).await.map_err(lease_error)?;
        let left = left.ok_or(LeaseError::NotFound(id))?;
        self.core().meters.lease_renewed();
        Ok(left.granted)
    }

    /// What is left of a lease; its keys only if they are asked for.
    pub async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseTimeToLive, LeaseError> {
        self.core().check()?;
        let left = self.core().member.lease_left(id).await.map_err(lease_error)?;
        let left = left.ok_or(LeaseError::NotFound(id))?;
        let keys = if keys {
            self.core().linearize().await.map_err(lease_error)?;
            self.core().leases.keys(id)
        } else {
            Vec::new()
        };
        if self.caller.is_some() {
            self.allowed(|state, caller| state.check_lease_read(caller, &keys))
                .await
                .map_err(WriteError::from)?;
        }
        Ok(LeaseTimeToLive { id, granted: left.granted, remaining: left.remaining, keys })
    }

    /// All leases, by identifier.
    pub async fn leases(&self) -> Result<Vec<Lease>, LeaseError> {
        self.core().check()?;
        self.core().linearize().await.map_err(lease_error)?;
        let leases = self.core().leases.list();
        if self.caller.is_some() {
            let keys: Vec<Bytes> =
                leases.iter().flat_map(|lease| self.core().leases.keys(lease.id)).collect();
            self.allowed(|state, caller| state.check_lease_read(caller, &keys))
                .await
                .map_err(WriteError::from)?;
        }
        Ok(leases)
    }

    /// Makes `revision` the oldest that can be read. Returns once that holds; the space comes back in the background.
    pub async fn compact(&self, revision: Revision) -> Result<(), CompactError> {
        match self.propose(Command::Compact(revision)).await? {
            Reply::Compact => Ok(()),
            Reply::CompactRefused { current, .. } if revision > current => {
                Err(CompactError::FutureRevision { wanted: revision, current })
            }
            Reply::CompactRefused { floor, .. } => Err(CompactError::Compacted { wanted: revision, floor }),
            other => Err(unexpected(&other).into()),
        }
    }

    /// The current revision: what [`Store::status`] tells, without looking at the disk.
    pub fn revision(&self) -> Revision {
        self.core().tables.revision()
    }

    /// The store in figures.
    pub async fn status(&self) -> Result<Status, RangeError> {
        self.core().status().await
    }

    /// What this store has done since it was opened, in counts: for metrics.
    pub fn figures(&self) -> Figures {
        self.core().figures()
    }

    /// Resolves when the store stops by itself (a failed disk) or is closed.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        self.core().stop.token().clone().cancelled_owned()
    }

    /// Hands the leadership over if this member leads, and goes on: for a server that is about to stop, while its clients are still connected. If
    /// nobody takes it within two seconds, it stays; [`Store::close`] tries again.
    pub async fn hand_over(&self) {
        Box::pin(self.core().hand_over()).await;
    }

    /// Closes the store: no new requests, those under way end, everything is on disk, the lock is free. Other handles answer `Closed` from then on.
    /// A second close does nothing.
    pub async fn close(&self) -> Result<(), CloseError> {
        Box::pin(self.core().close()).await
    }
}

/// What a call about a lease says if the leader could not be asked.
fn lease_error(error: ClusterError) -> LeaseError {
    LeaseError::Write(match error {
        ClusterError::Closed => WriteError::Closed,
        ClusterError::Halted(halt) => WriteError::Halted(halt),
        ClusterError::Timeout => WriteError::Timeout,
        _ => WriteError::NoLeader,
    })
}

/// The state machine gave another command's answer. It cannot, but if it did, the caller must not take it for success.
fn unexpected(reply: &Reply) -> WriteError {
    WriteError::Unknown(format!("an answer to another command: {reply:?}"))
}
