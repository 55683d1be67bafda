//! The handle that embedders hold.
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;

use crate::api::{
    CloseError, CompactError, Config, DeleteRangeRequest, DeleteRangeResponse, KeyValue, Lease, LeaseError, LeaseGrant, LeaseId, LeaseTimeToLive,
    OpenError, PutRequest, PutResponse, RangeError, RangeRequest, RangeResponse, Revision, Status, Txn, TxnResponse, WatchBatch, WatchError,
    WatchRequest, WriteError,
};

/// An open store: a cheap handle, to be cloned freely. All clones are one store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<()>,
}

impl Store {
    /// Opens (or creates) the store in `config.dir` and takes its lock. Call it inside a tokio runtime, which must outlive the store.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        drop(config);
        Err(OpenError::Raft("not built yet".into()))
    }

    /// Reads keys. The answer is linearizable: it sees every write that was acknowledged before the call.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, RangeError> {
        drop(request);
        Err(RangeError::Closed)
    }

    /// Reads a range page by page, all pages at one revision, in constant memory. `request.limit` bounds the whole; each page is a response of its own.
    pub fn range_stream(&self, request: RangeRequest) -> impl Stream<Item = Result<RangeResponse, RangeError>> + Send + use<> {
        drop(request);
        futures::stream::empty()
    }

    /// Reads one key.
    pub async fn get(&self, key: impl Into<Bytes> + Send) -> Result<Option<KeyValue>, RangeError> {
        Ok(self.range(RangeRequest::key(key)).await?.kvs.pop())
    }

    /// Sets one key.
    pub async fn put(&self, key: impl Into<Bytes> + Send, value: impl Into<Bytes> + Send) -> Result<PutResponse, WriteError> {
        self.put_with(PutRequest::new(key, value)).await
    }

    /// Sets one key, with lease and previous value.
    pub async fn put_with(&self, request: PutRequest) -> Result<PutResponse, WriteError> {
        drop(request);
        Err(WriteError::Closed)
    }

    /// Deletes one key.
    pub async fn delete(&self, key: impl Into<Bytes> + Send) -> Result<DeleteRangeResponse, WriteError> {
        self.delete_range(DeleteRangeRequest::key(key)).await
    }

    /// Deletes a range of keys in one revision.
    pub async fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, WriteError> {
        drop(request);
        Err(WriteError::Closed)
    }

    /// Runs a transaction.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, WriteError> {
        drop(txn);
        Err(WriteError::Closed)
    }

    /// Follows changes. A start revision that is compacted shows at the first [`Watch::next`].
    pub async fn watch(&self, request: WatchRequest) -> Watch {
        drop(request);
        Watch { inner: Arc::clone(&self.inner) }
    }

    /// Grants a lease, with an identifier of the caller's or a new one. `ttl` is rounded up to whole seconds, at least one.
    pub async fn lease_grant(&self, ttl: Duration, id: Option<LeaseId>) -> Result<LeaseGrant, LeaseError> {
        drop((ttl, id));
        Err(WriteError::Closed.into())
    }

    /// Ends a lease and deletes its keys in one revision, which is returned.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<Revision, LeaseError> {
        Err(LeaseError::NotFound(id))
    }

    /// Starts the lease's time anew and returns it. Not written to the log.
    pub async fn lease_keep_alive(&self, id: LeaseId) -> Result<Duration, LeaseError> {
        Err(LeaseError::NotFound(id))
    }

    /// What is left of a lease; its keys only if they are asked for.
    pub async fn lease_time_to_live(&self, id: LeaseId, keys: bool) -> Result<LeaseTimeToLive, LeaseError> {
        drop(keys);
        Err(LeaseError::NotFound(id))
    }

    /// All leases, by identifier.
    pub async fn leases(&self) -> Result<Vec<Lease>, LeaseError> {
        Err(WriteError::Closed.into())
    }

    /// Makes `revision` the oldest that can be read. Returns once that holds; the space comes back in the background.
    pub async fn compact(&self, revision: Revision) -> Result<(), CompactError> {
        drop(revision);
        Err(WriteError::Closed.into())
    }

    /// The current revision: what [`Store::status`] tells, without looking at the disk.
    pub fn revision(&self) -> Revision {
        Revision::INITIAL
    }

    /// The store in figures.
    pub async fn status(&self) -> Result<Status, RangeError> {
        Err(RangeError::Closed)
    }

    /// Resolves when the store stops by itself (a failed disk) or is closed.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        futures::future::pending()
    }

    /// Closes the store: no new requests, those under way end, everything is on disk, the lock is free. Other handles answer `Closed` from then on.
    /// A second close does nothing.
    pub async fn close(&self) -> Result<(), CloseError> {
        Ok(())
    }
}

/// A watch that is open; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    inner: Arc<()>,
}

impl Watch {
    /// The next batch: all events of one revision, or, if asked for, an empty batch as a sign of progress.
    ///
    /// # Cancel safety
    /// A `next` that is dropped before it is ready loses nothing.
    pub async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        Err(WatchError::Closed)
    }

    /// The first revision that was not delivered yet: where to resume from, in this process or another.
    pub fn position(&self) -> Revision {
        drop(Arc::clone(&self.inner));
        Revision::INITIAL
    }
}
