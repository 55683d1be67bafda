//! Keys below one prefix in the order of their creation: the oldest holds the lock, or is the leader, and the others wait.
use std::time::Duration;

use bytes::Bytes;
use tonic::Status;

use super::refusal;
use crate::Store;
use crate::api::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, EventKind, KeyValue, LeaseId, Op, OpResponse,
    PutRequest, RangeOrder, RangeRequest, RangeResponse, Revision, RevisionBounds, SortTarget, Txn,
    WatchRequest, prefix_end,
};

/// The time to live of a lease that is made for a caller without one. Nobody keeps it alive, as in etcd.
const SESSION_TTL: Duration = Duration::from_secs(60);

/// The keys below a name.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    store: Store,
    prefix: Bytes,
}

/// A key that has taken its place among them.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) key: Bytes,
    pub(super) create_revision: Revision,
    /// The store's revision when it was taken, or found.
    pub(super) revision: Revision,
    /// The key, if it had its place before.
    pub(super) found: Option<KeyValue>,
}

/// The caller's lease, or a new one.
pub(super) async fn session(store: &Store, lease: i64) -> Result<LeaseId, Status> {
    if lease != 0 {
        return Ok(LeaseId(lease));
    }
    let granted = store.lease_grant(SESSION_TTL, None).await.map_err(|error| refusal::of_lease(&error))?;
    Ok(granted.id)
}

impl Candidates {
    pub(super) fn new(store: Store, name: &[u8]) -> Self {
        Self { store, prefix: [name, b"/"].concat().into() }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// The key of a lease.
    pub(super) fn key(&self, lease: LeaseId) -> Bytes {
        [&self.prefix[..], format!("{:x}", lease.0).as_bytes()].concat().into()
    }

    /// Takes a place for a lease, or finds the one that it has.
    pub(super) async fn enter(&self, lease: LeaseId, value: Bytes) -> Result<Place, Status> {
        let key = self.key(lease);
        let put = PutRequest { lease, ..PutRequest::new(key.clone(), value) };
        let txn =
            Txn::when([Compare::absent(key.clone())]).then([put]).otherwise([RangeRequest::key(key.clone())]);
        let response = self.store.txn(txn).await.map_err(|error| refusal::of_write(&error))?;
        let found = match response.responses.into_iter().next() {
            Some(OpResponse::Range(range)) => range.kvs.into_iter().next(),
            _ => None,
        };
        let create_revision = found.as_ref().map_or(response.revision, |kv| kv.create_revision);
        Ok(Place { key, create_revision, revision: response.revision, found })
    }

    /// The oldest key, and the revision at which it was.
    pub(super) async fn first(&self) -> Result<(Option<KeyValue>, Revision), Status> {
        let response = self.created(false, Revision(0)).await?;
        Ok((response.kvs.into_iter().next(), response.revision))
    }

    /// Waits until no key is left that was created before `create_revision`. Only the one just before is watched: a crowd does not wake at once.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(super) async fn wait_for_turn(&self, create_revision: Revision) -> Result<(), Status> {
        loop {
            let before = self.created(true, create_revision.previous()).await?;
            let Some(kv) = before.kvs.into_iter().next() else { return Ok(()) };
            self.wait_for_end(kv.key, before.revision.next()).await?;
        }
    }

    async fn created(&self, descending: bool, create_max: Revision) -> Result<RangeResponse, Status> {
        let request = RangeRequest {
            limit: 1,
            order: Some(RangeOrder { target: SortTarget::Create, descending }),
            bounds: RevisionBounds { create_max, ..RevisionBounds::default() },
            range_end: Some(prefix_end(&self.prefix)),
            ..RangeRequest::key(self.prefix.clone())
        };
        self.store.range(request).await.map_err(|error| refusal::of_range(&error))
    }

    async fn wait_for_end(&self, key: Bytes, from: Revision) -> Result<(), Status> {
        let mut watch = self.store.watch(WatchRequest::key(key).starting_at(from)).await;
        loop {
            let batch = watch.next().await.map_err(|error| refusal::of_watch(&error))?;
            if batch.events.iter().any(|event| event.kind == EventKind::Delete) {
                return Ok(());
            }
        }
    }
}

/// Gives a place up when it is dropped, unless it was kept: a caller who goes away while it waits must not hold up the others.
pub(super) struct Claim {
    store: Option<Store>,
    key: Bytes,
    create_revision: Revision,
}

impl Claim {
    pub(super) fn new(store: Store, place: &Place) -> Self {
        Self { store: Some(store), key: place.key.clone(), create_revision: place.create_revision }
    }

    /// The place stays, for as long as its lease.
    pub(super) fn keep(mut self) {
        self.store = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(store) = self.store.take() else { return };
        let txn = give_up(self.key.clone(), self.create_revision);
        let runtime = store.core().runtime.clone();
        runtime.spawn(async move {
            if let Err(error) = store.txn(txn).await {
                tracing::debug!(%error, "a place was not given up; its lease will end it");
            }
        });
    }
}

/// Deletes a key if it is still the one that was created then.
pub(super) fn give_up(key: Bytes, create_revision: Revision) -> Txn {
    still(key.clone(), create_revision).then([Op::Delete(DeleteRangeRequest::key(key))])
}

/// A transaction that runs only while a key is the one that was created then.
pub(super) fn still(key: Bytes, create_revision: Revision) -> Txn {
    Txn::when([Compare::new(key, CompareTarget::Create(create_revision), CompareOp::Equal)])
}
