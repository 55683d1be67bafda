//! Lists at revisions older than the cache remembers, read from the store's history page by page.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_proto_api::Status;
use mainstay_store::{RangeRequest, Revision, prefix_end};

use super::{Registry, resource_prefix};
use crate::cache::Cached;

/// Objects read at once.
const PAGE_MAX: usize = 500;

/// Part of a list at an old revision.
#[derive(Debug)]
pub struct HistoryPage {
    /// The objects, in key order.
    pub objects: Vec<Arc<Cached>>,
    /// Whether more follow.
    pub more: bool,
}

impl Registry {
    /// The objects of `namespace` (all when empty) at `revision`, from `position` on, at most `limit` of
    /// them, and at most one page (which `limit` 0 asks for).
    ///
    /// # Errors
    /// 410 when the revision is compacted; failures of the store.
    pub async fn page_at(
        &self,
        kind: &'static Kind,
        namespace: &str,
        position: &[u8],
        revision: Revision,
        limit: usize,
    ) -> Result<HistoryPage, Status> {
        let prefix = resource_prefix(kind, namespace).map_err(|error| Self::failed(kind, error))?;
        let end = prefix_end(prefix.as_bytes());
        let mut start = prefix.into_bytes();
        start.extend_from_slice(position);
        let request = RangeRequest {
            limit: if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) },
            revision: Some(revision),
            uncounted: true,
            ..RangeRequest::range(Bytes::from(start), end)
        };
        let response = self.inner.store.range(request).await.map_err(|error| Self::failed(kind, error))?;
        let vault = &self.inner.vault;
        vault.unlock(response.kvs.iter().map(|kv| &kv.value)).await;
        let objects = response
            .kvs
            .iter()
            .map(|kv| Cached::unsealed(vault, kind.stored_kind(), kv).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(|error| Self::failed(kind, error))?;
        Ok(HistoryPage { objects, more: response.more })
    }
}
