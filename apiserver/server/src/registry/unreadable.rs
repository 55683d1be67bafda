//! The way out for an object that is stored and cannot be read: it is removed as it is, as upstream's
//! `ignoreStoreReadErrorWithClusterBreakingPotential` does. Never for an object that can be read.

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::pipeline;
use mainstay_proto_api::Status;
use mainstay_store::{Compare, DeleteRangeRequest, KeyValue, Op, RangeRequest, Txn};

use super::{Registry, object_key};
use crate::cache::Cached;
use crate::failure::Failure;

impl Registry {
    /// Removes what is stored under a name, if it cannot be read; with `dry_run` it is only looked at.
    ///
    /// # Errors
    /// 404; 409 for an object that can be read, or that was changed meanwhile; failures of the store.
    pub async fn remove_unreadable(
        &self,
        kind: &'static Kind,
        (namespace, name): (&str, &str),
        dry_run: bool,
    ) -> Result<(), Status> {
        let failed = |failure: Failure| Self::failed(kind, failure);
        let key = object_key(kind, namespace, name).map_err(|error| failed(error.into()))?;
        let read = self.inner.store.range(RangeRequest::key(key.clone())).await;
        let read = read.map_err(|error| failed(error.into()))?;
        let Some(kv) = read.kvs.into_iter().next() else {
            return Err(Status::not_found(kind.group, kind.plural, name));
        };
        let conflict = |why: &str| {
            let why = pipeline::invalid_stored(kind, (namespace, name), why);
            Err(Status::conflict(kind.group, kind.plural, name, &why))
        };
        if self.is_readable(kind, &kv).await {
            return conflict("unsafe deletion is not allowed because the object is decodable from storage");
        }
        if dry_run {
            return Ok(());
        }
        let txn = Txn::when([Compare::unchanged(key.clone(), kv.mod_revision)])
            .then([Op::from(DeleteRangeRequest::key(key.clone()))]);
        let response = self.inner.store.txn(txn).await.map_err(|error| failed(error.into()))?;
        if response.succeeded { Ok(()) } else { conflict("it was changed meanwhile") }
    }

    async fn is_readable(&self, kind: &'static Kind, kv: &KeyValue) -> bool {
        let vault = &self.inner.vault;
        vault.unlock(std::iter::once(&kv.value)).await;
        Cached::unsealed(vault, kind.stored_kind(), kv).is_ok_and(|cached| cached.decode().is_ok())
    }
}
