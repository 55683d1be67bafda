//! [`Backing`]: the calls that the API server makes on a store.
//!
//! The store in this process is called directly: futures of the way over the network are boxed, so that they make
//! nobody else's larger.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use mainstay_base::telemetry::trace::{self, Kind, Place, within};
use mainstay_store::{
    ClusterError, DeleteRangeRequest, DeleteRangeResponse, LeaseId, Op, RangeError, RangeRequest,
    RangeResponse, Revision, Store, Txn, TxnResponse, Watch, WatchBatch, WatchRequest, WriteTimes,
};

use super::BackingError;
use super::etcd::{EtcdClient, EtcdWatch};
use crate::cache::Progress;

/// A store. Clones are the same one.
#[derive(Debug, Clone)]
pub enum Backing {
    /// The one in this process.
    Embedded(Store),
    /// One behind etcd's API.
    Etcd(EtcdClient),
}

impl From<Store> for Backing {
    fn from(store: Store) -> Self {
        Self::Embedded(store)
    }
}

impl From<EtcdClient> for Backing {
    fn from(client: EtcdClient) -> Self {
        Self::Etcd(client)
    }
}

impl Backing {
    /// The store in this process, if it is there.
    pub(crate) fn embedded(&self) -> Option<&Store> {
        match self {
            Self::Embedded(store) => Some(store),
            Self::Etcd(_) => None,
        }
    }

    /// Reads keys, linearizably.
    ///
    /// # Errors
    /// [`BackingError`].
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, BackingError> {
        match self {
            Self::Embedded(store) => Ok(store.range(request).await?),
            Self::Etcd(client) => Box::pin(client.range(request)).await,
        }
    }

    /// Reads a range page by page, all of it as it was at one revision, that of the first page. There is at least one.
    pub fn range_stream(
        &self,
        request: RangeRequest,
    ) -> impl Stream<Item = Result<RangeResponse, BackingError>> + Send + use<> {
        match self {
            Self::Embedded(store) => store.range_stream(request).map_err(BackingError::from).left_stream(),
            Self::Etcd(client) => client.range_stream(request).right_stream(),
        }
    }

    /// Runs a transaction.
    ///
    /// # Errors
    /// [`BackingError`].
    pub async fn txn(&self, txn: Txn) -> Result<TxnResponse, BackingError> {
        if let Some(place) = trace::current() {
            return Box::pin(self.traced_txn(&place, txn)).await;
        }
        self.untraced_txn(txn).await
    }

    async fn untraced_txn(&self, txn: Txn) -> Result<TxnResponse, BackingError> {
        match self {
            Self::Embedded(store) => Ok(store.txn(txn).await?),
            Self::Etcd(client) => Box::pin(client.txn(txn)).await,
        }
    }

    /// As [`Self::txn`], below a span with etcd's name. What it wrote is known by its revision from then on: events of it
    /// are part of the trace.
    async fn traced_txn(&self, place: &Place, txn: Txn) -> Result<TxnResponse, BackingError> {
        let (name, kind) = match self {
            Self::Embedded(_) => ("txn", Kind::Internal),
            Self::Etcd(_) => ("etcdserverpb.KV/Txn", Kind::Client),
        };
        let mut span = place.child(name, kind);
        let writes = txn.success.iter().any(|op| !matches!(op, Op::Range(_)));
        let (mut span, answer) = match self {
            Self::Embedded(store) if span.is_recorded() => {
                span.set("compare_len", txn.compare.len());
                span.set("success_len", txn.success.len());
                // A leader elsewhere says there what it does with the write.
                let parent = span.place().map(|place| place.context().parent_header()).unwrap_or_default();
                let times = Arc::new(WriteTimes::with_note(parent));
                let answer = store.timed(&times).txn(txn).await.map_err(BackingError::from);
                for stretch in times.stretches() {
                    let figures = stretch.figures.into_iter().map(|(name, value)| (name, value.into()));
                    span.past(stretch.name, (stretch.began, stretch.ended), figures.collect());
                }
                (span, answer)
            }
            _ => within(span, self.untraced_txn(txn)).await,
        };
        match &answer {
            Ok(response) if response.succeeded && writes => {
                span.set("rev", response.revision.0);
                let below = span.place().unwrap_or_else(|| place.clone());
                place.tracer().causes().wrote(response.revision.0, &below);
            }
            Ok(_) => {}
            Err(error) => span.fail(error.to_string()),
        }
        answer
    }

    /// Deletes a range of keys in one revision.
    ///
    /// # Errors
    /// [`BackingError`].
    pub async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, BackingError> {
        match self {
            Self::Embedded(store) => Ok(store.delete_range(request).await?),
            Self::Etcd(client) => Box::pin(client.delete_range(request)).await,
        }
    }

    /// Grants a lease of at least `ttl`.
    ///
    /// # Errors
    /// [`BackingError`].
    pub async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, BackingError> {
        match self {
            Self::Embedded(store) => Ok(store.lease_grant(ttl, None).await?.id),
            Self::Etcd(client) => Box::pin(client.lease_grant(ttl)).await,
        }
    }

    /// Makes `revision` the oldest that can be read.
    ///
    /// # Errors
    /// [`BackingError`].
    pub async fn compact(&self, revision: Revision) -> Result<(), BackingError> {
        match self {
            Self::Embedded(store) => Ok(store.compact(revision).await?),
            Self::Etcd(client) => Box::pin(client.compact(revision)).await,
        }
    }

    /// Follows every change of what this server keeps, from `start` on.
    pub async fn follow(&self, start: Revision) -> Following {
        match self {
            Self::Embedded(store) => {
                // Everything, not only our keys: then every revision shows up and consistent reads never wait for more.
                let request = WatchRequest { progress: true, ..WatchRequest::prefix(bytes::Bytes::new()) };
                Following::Embedded(Box::new(store.watch(request.starting_at(start)).await))
            }
            Self::Etcd(client) => Following::Etcd(Box::new(client.follow(start))),
        }
    }

    /// The revision of the newest write that was acknowledged before the call.
    ///
    /// # Errors
    /// [`BackingError`], of a remote store, or of members without a quorum.
    pub async fn revision(&self) -> Result<Revision, BackingError> {
        match self {
            Self::Embedded(store) => store.current_revision().await.map_err(no_quorum),
            Self::Etcd(client) => Box::pin(client.revision()).await,
        }
    }

    /// Waits until `progress` has come to where the store was at the moment of the call; a remote store is waited for
    /// no longer than `patience`.
    ///
    /// # Errors
    /// [`BackingError`], of a remote store, or of members without a quorum.
    pub async fn reach(&self, progress: &Progress, patience: Option<Duration>) -> Result<(), BackingError> {
        match self {
            Self::Embedded(store) => {
                progress.reached(store.current_revision().await.map_err(no_quorum)?).await;
                Ok(())
            }
            Self::Etcd(client) => Box::pin(client.reach(progress, patience)).await,
        }
    }

    /// As [`Backing::reach`], for who is in no haste: the members of an embedded store are asked with the heartbeat that is due next.
    ///
    /// # Errors
    /// As [`Backing::reach`].
    pub async fn reach_by_heartbeat(
        &self,
        progress: &Progress,
        patience: Option<Duration>,
    ) -> Result<(), BackingError> {
        match self {
            Self::Embedded(store) => {
                let revision = store.current_revision_by_heartbeat().await.map_err(no_quorum)?;
                progress.reached(revision).await;
                Ok(())
            }
            Self::Etcd(_) => self.reach(progress, patience).await,
        }
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check(&self) -> Result<(), BackingError> {
        match self {
            Self::Embedded(store) => Ok(store.status().await.map(drop)?),
            Self::Etcd(client) => Box::pin(client.revision()).await.map(drop),
        }
    }
}

/// What a member says that cannot ask the others how far they are.
fn no_quorum(error: ClusterError) -> BackingError {
    BackingError::Range(match error {
        ClusterError::Closed => RangeError::Closed,
        ClusterError::Halted(halt) => RangeError::Halted(halt),
        ClusterError::Timeout => RangeError::Timeout,
        _ => RangeError::NoLeader,
    })
}

/// The changes of a store, in order.
#[derive(Debug)]
pub enum Following {
    /// Of the one in this process.
    Embedded(Box<Watch>),
    /// Of one behind etcd's API.
    Etcd(Box<EtcdWatch>),
}

impl Following {
    /// The next batch: all changes of one revision, or none of them, which tells that everything up to there has come.
    ///
    /// # Errors
    /// [`BackingError`]: history that was to come is compacted, or the store has ended.
    ///
    /// # Cancel safety
    /// A call that is dropped before it is ready loses nothing.
    pub async fn next(&mut self) -> Result<WatchBatch, BackingError> {
        match self {
            Self::Embedded(watch) => Ok(watch.next().await?),
            Self::Etcd(watch) => Box::pin(watch.next()).await,
        }
    }
}
