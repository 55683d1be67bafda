//! [`EtcdClient`]: the calls on a store behind etcd's API.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use mainstay_base::telemetry::trace;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::{
    DeleteRangeRequest, DeleteRangeResponse, LeaseId, Op, RangeRequest, RangeResponse, Revision, Txn,
    TxnResponse,
};
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use tokio::sync::Notify;
use tonic::transport::Channel;

use super::super::BackingError;
use super::config::{EtcdConfig, EtcdConfigError};
use super::endpoints::{Endpoints, Failed, Repeat};
use super::keys::KeySpace;
use super::shared_question::SharedQuestion;
use super::watch::EtcdWatch;
use super::{convert, refusals};
use crate::cache::Progress;

/// How long one server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take for a page of a range.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer, as etcd's clients have it: the bound of protobuf itself.
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;
/// Keys in the first page of a range, and at most; and how large pages should be.
const PAGE_FIRST: usize = 100;
const PAGE_MAX: usize = 10_000;
const PAGE_BYTES: usize = 4 << 20;
/// How often a watch is asked again how far it is, while somebody waits for that. Upstream's interval.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A store behind etcd's API. Clones share its connections.
#[derive(Debug, Clone)]
pub struct EtcdClient {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) endpoints: Endpoints,
    pub(super) keys: KeySpace,
    /// Somebody waits for the watch to tell how far it is.
    pub(super) progress_wanted: Notify,
    current: SharedQuestion<Revision>,
    /// The newest revision that an answer carried.
    seen: AtomicI64,
}

impl EtcdClient {
    /// A client. Nothing is connected yet.
    ///
    /// # Errors
    /// [`EtcdConfigError`].
    pub fn new(config: &EtcdConfig) -> Result<Self, EtcdConfigError> {
        let inner = Inner {
            endpoints: Endpoints::new(config)?,
            keys: KeySpace::new(&config.prefix),
            progress_wanted: Notify::new(),
            current: SharedQuestion::default(),
            seen: AtomicI64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn kv(channel: Channel) -> KvClient<Channel> {
        KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    fn seen(&self) -> Revision {
        Revision(self.inner.seen.load(Ordering::Relaxed))
    }

    fn saw(&self, header: Option<&pb::ResponseHeader>) {
        self.inner.seen.fetch_max(convert::revision(header).0, Ordering::Relaxed);
    }

    pub(in super::super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, BackingError> {
        self.page(&request, TIMEOUT).await
    }

    async fn page(&self, request: &RangeRequest, timeout: Duration) -> Result<RangeResponse, BackingError> {
        let message = convert::range(&self.inner.keys, request);
        let call = |channel| {
            let message = message.clone();
            async move { Self::kv(channel).range(carrying(message)).await }
        };
        let answer = self.inner.endpoints.call(Repeat::Always, timeout, call).await;
        let answer = answer.map_err(|Failed { server, status }| {
            refusals::of_range(&server, &status, request.revision.unwrap_or_default(), self.seen())
        })?;
        self.saw(answer.header.as_ref());
        Ok(convert::range_response(&self.inner.keys, answer))
    }

    pub(in super::super) fn range_stream(
        &self,
        request: RangeRequest,
    ) -> impl Stream<Item = Result<RangeResponse, BackingError>> + Send + use<> {
        let client = self.clone();
        stream::try_unfold(Some((request, PAGE_FIRST)), move |rest| {
            let client = client.clone();
            async move {
                let Some((mut request, limit)) = rest else { return Ok(None) };
                request.limit = limit;
                let page = client.page(&request, PAGE_TIMEOUT).await?;
                let rest = page.kvs.last().filter(|_| page.more).map(|last| {
                    // All pages show what the first one did.
                    request.revision = request.revision.or(Some(page.revision));
                    request.key = [&last.key, &b"\0"[..]].concat().into();
                    (request, next_limit(limit, &page))
                });
                Ok(Some((page, rest)))
            }
        })
    }

    pub(in super::super) async fn txn(&self, txn: Txn) -> Result<TxnResponse, BackingError> {
        let lease = lease_of(&txn);
        let message = convert::txn(&self.inner.keys, txn);
        let call = |channel| {
            let message = message.clone();
            async move { Self::kv(channel).txn(carrying(message)).await }
        };
        let answer = self.inner.endpoints.call(Repeat::IfUndone, TIMEOUT, call).await;
        let answer = answer.map_err(|failed| refusals::of_write(&failed.server, &failed.status, lease))?;
        self.saw(answer.header.as_ref());
        Ok(convert::txn_response(&self.inner.keys, answer))
    }

    pub(in super::super) async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, BackingError> {
        let message = convert::delete(&self.inner.keys, &request);
        let call = |channel| {
            let message = message.clone();
            async move { Self::kv(channel).delete_range(carrying(message)).await }
        };
        let answer = self.inner.endpoints.call(Repeat::IfUndone, TIMEOUT, call).await;
        let none = LeaseId::NONE;
        let answer = answer.map_err(|failed| refusals::of_write(&failed.server, &failed.status, none))?;
        self.saw(answer.header.as_ref());
        Ok(convert::delete_response(&self.inner.keys, answer))
    }

    pub(in super::super) async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, BackingError> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl = i64::try_from(seconds.max(1)).unwrap_or(i64::MAX);
        let call = |channel| async move {
            LeaseClient::new(channel).lease_grant(pb::LeaseGrantRequest { ttl, id: 0 }).await
        };
        // A lease that nobody learnt of ends by itself.
        let answer = self.inner.endpoints.call(Repeat::Always, TIMEOUT, call).await;
        let answer = answer.map_err(|failed| refusals::of_lease(&failed.server, &failed.status))?;
        Ok(LeaseId(answer.id))
    }

    pub(in super::super) async fn compact(&self, revision: Revision) -> Result<(), BackingError> {
        let message = pb::CompactionRequest { revision: revision.0, physical: false };
        let call = |channel| async move { Self::kv(channel).compact(message).await };
        let answer = self.inner.endpoints.call(Repeat::Always, TIMEOUT, call).await;
        answer.map(drop).map_err(|Failed { server, status }| {
            refusals::of_compact(&server, &status, revision, self.seen())
        })
    }

    pub(in super::super) fn follow(&self, start: Revision) -> EtcdWatch {
        EtcdWatch::new(self.clone(), start)
    }

    /// The revision of the newest write that was acknowledged before the call; asked once for all who ask at the time.
    ///
    /// # Errors
    /// [`BackingError`].
    pub async fn revision(&self) -> Result<Revision, BackingError> {
        let ask = || async {
            let request = pb::RangeRequest {
                key: self.inner.keys.health(),
                count_only: true,
                ..pb::RangeRequest::default()
            };
            let call = |channel| {
                let request = request.clone();
                async move { Self::kv(channel).range(request).await }
            };
            let answer = self.inner.endpoints.call(Repeat::Always, TIMEOUT, call).await;
            let answer = answer.map_err(|Failed { server, status }| {
                refusals::of_range(&server, &status, Revision(0), self.seen())
            })?;
            self.saw(answer.header.as_ref());
            Ok(convert::revision(answer.header.as_ref()))
        };
        self.inner.current.ask(ask).await
    }

    pub(in super::super) async fn reach(
        &self,
        progress: &Progress,
        patience: Option<Duration>,
    ) -> Result<(), BackingError> {
        let wanted = self.revision().await?;
        let deadline = patience.map(|patience| tokio::time::Instant::now() + patience);
        while progress.current() < wanted {
            if deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline) {
                return Err(BackingError::Behind { wanted, current: progress.current() });
            }
            // What was written below our prefix arrives by itself; of others' writes only the progress tells.
            self.inner.progress_wanted.notify_one();
            if tokio::time::timeout(ASK_AGAIN, progress.reached(wanted)).await.is_ok() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A message that says which trace it is part of, if it is of any.
fn carrying<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some((parent, state)) = trace::outgoing() {
        for (name, value) in [("traceparent", parent), ("tracestate", state)] {
            // A state that is no header's value is not ours to mend.
            if !value.is_empty()
                && let Ok(value) = value.parse()
            {
                request.metadata_mut().insert(name, value);
            }
        }
    }
    request
}

/// The lease that a transaction's first put names: for the error that says it is gone.
fn lease_of(txn: &Txn) -> LeaseId {
    let lease = |op: &Op| if let Op::Put(put) = op { Some(put.lease) } else { None };
    txn.success.iter().find_map(lease).unwrap_or(LeaseId::NONE)
}

/// How many keys the next page should have, by the size of this one.
fn next_limit(limit: usize, page: &RangeResponse) -> usize {
    let bytes: usize = page.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
    let average = bytes.checked_div(page.kvs.len()).unwrap_or(0).max(1);
    (PAGE_BYTES / average).clamp(1, limit.saturating_mul(4)).min(PAGE_MAX)
}

/// Every key below our prefix: the first, and the end.
pub(super) fn everything(keys: &KeySpace) -> (Bytes, Bytes) {
    let root = keys.root();
    let end = mainstay_store::prefix_end(&root);
    (root, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_store::KeyValue;

    #[test]
    fn pages_grow_until_they_are_large_enough() {
        let page = |count: usize, bytes: usize| RangeResponse {
            kvs: vec![KeyValue { value: vec![0; bytes].into(), ..KeyValue::default() }; count],
            ..RangeResponse::default()
        };
        assert_eq!(next_limit(100, &page(100, 100)), 400);
        assert_eq!(next_limit(100, &page(100, 1 << 20)), 4);
        assert_eq!(next_limit(10_000, &page(2, 10)), PAGE_MAX);
        assert_eq!(next_limit(4, &page(1, 100 << 20)), 1);
    }
}
