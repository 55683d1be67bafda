//! Writes: one store transaction each, guarded by the revision the caller has seen.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::value::Value;
use mainstay_apiserver_machinery::{json, protobuf};
use mainstay_base::telemetry::trace;
use mainstay_proto_api::Status;
use mainstay_store::{
    Compare, DeleteRangeRequest, LeaseId, OpResponse, PutRequest, RangeRequest, Revision, Txn, TxnResponse,
};

use super::{Registry, Stored, object_key};
use crate::backing::BackingError;
use crate::cache::{Cached, Handed, Header, Raw, splice};
use crate::failure::Failure;

/// How a guarded write ended.
#[derive(Debug)]
pub enum Written {
    /// It was done (or there was nothing to do).
    Stored(Stored),
    /// Somebody was faster; this is the object now, `None` when it is gone.
    Changed(Option<Arc<Cached>>),
}

impl Written {
    /// Whether the store itself has compared `before` with what it has: then nothing stale is in this.
    pub(crate) fn is_compared_with(&self, before: &Cached) -> bool {
        match self {
            Self::Stored(stored) => stored.cached.header.revision != before.header.revision,
            Self::Changed(_) => true,
        }
    }
}

/// Attempts of [`Registry::update_with`]; each failed one means that somebody else succeeded.
const ATTEMPTS_MAX: usize = 50;

impl Registry {
    /// Stores a new object. `object` is in the served form of `kind`, complete and valid.
    ///
    /// # Errors
    /// 409 `AlreadyExists`; 413; failures of the store.
    pub async fn create(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        object: Value,
    ) -> Result<Stored, Status> {
        let failed = |failure: Failure| Self::failed(kind, failure);
        let key = object_key(kind, namespace, name).map_err(|error| failed(error.into()))?;
        let object = self.to_stored_form(kind, object).await?;
        let encoded = self.encode(kind, object).map_err(failed)?;
        let lease = self.lease_for(kind).await.map_err(failed)?;
        let value =
            self.inner.vault.seal(kind, &key, encoded.value.clone()).map_err(|error| failed(error.into()))?;
        let handed = self.hand_over(&key, &encoded, &value);
        let put = PutRequest::new(key.clone(), value).with_lease(lease);
        let txn = Txn::when([Compare::absent(key)]).then([put]);
        let response = self.txn("Create etcd3", kind, txn).await.map_err(|error| failed(error.into()))?;
        if !response.succeeded {
            return Err(Status::already_exists(kind.group, kind.plural, name));
        }
        let cached = handed.and_then(|handed| handed.written(response.revision));
        self.shown(kind, encoded.into_stored(response.revision, cached).map_err(failed)?).await
    }

    /// Stores a new state of `current`, unless that has changed meanwhile. An equal state is not written again.
    ///
    /// # Errors
    /// 413; failures of the store.
    pub async fn replace(
        &self,
        kind: &'static Kind,
        current: &Arc<Cached>,
        object: Value,
    ) -> Result<Written, Status> {
        let failed = |failure: Failure| Self::failed(kind, failure);
        let key = Self::key_of(kind, current)?;
        let object = self.to_stored_form(kind, object).await?;
        let encoded = self.encode(kind, object).map_err(failed)?;
        if !current.header.stale && encoded.raw(current.header.revision).map_err(failed)? == current.raw {
            let unchanged = encoded.into_stored(current.header.revision, None).map_err(failed)?;
            return self.shown(kind, unchanged).await.map(Written::Stored);
        }
        let lease = self.lease_for(kind).await.map_err(failed)?;
        let value =
            self.inner.vault.seal(kind, &key, encoded.value.clone()).map_err(|error| failed(error.into()))?;
        let handed = self.hand_over(&key, &encoded, &value);
        let put = PutRequest::new(key.clone(), value).with_lease(lease);
        let txn = Txn::when([Compare::unchanged(key.clone(), current.header.revision)])
            .then([put])
            .otherwise([RangeRequest::key(key.clone())]);
        let response = self.txn("GuaranteedUpdate etcd3", kind, txn).await;
        let response = response.map_err(|error| failed(error.into()))?;
        if !response.succeeded {
            return Ok(Written::Changed(self.found(kind, response).await.map_err(failed)?));
        }
        let cached = handed.and_then(|handed| handed.written(response.revision));
        let stored = encoded.into_stored(response.revision, cached).map_err(failed)?;
        self.shown(kind, stored).await.map(Written::Stored)
    }

    /// Removes `current`, unless it has changed meanwhile. The result is its last state under the revision of the removal.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn remove(&self, kind: &'static Kind, current: &Arc<Cached>) -> Result<Written, Status> {
        let failed = |failure: Failure| Self::failed(kind, failure);
        let key = Self::key_of(kind, current)?;
        let txn = Txn::when([Compare::unchanged(key.clone(), current.header.revision)])
            .then([mainstay_store::Op::from(DeleteRangeRequest::key(key.clone()))])
            .otherwise([RangeRequest::key(key.clone())]);
        let response = self.txn("Delete etcd3", kind, txn).await.map_err(|error| failed(error.into()))?;
        if !response.succeeded {
            return Ok(Written::Changed(self.found(kind, response).await.map_err(failed)?));
        }
        let last = current.at_revision(response.revision).map_err(|error| failed(error.into()))?;
        let object = last.decode().map_err(|error| failed(error.into()))?;
        self.shown(kind, Stored { object, cached: Arc::new(last) }).await.map(Written::Stored)
    }

    /// Changes an object by `change`, again and again until nobody interferes. `None` leaves it as it is. Runs no
    /// rules and no admission: for the server's own endpoints, which know what they do.
    ///
    /// # Errors
    /// 404; what `change` says; failures of the store.
    pub async fn update_with(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(Value) -> Result<Option<Value>, Status> + Send,
    ) -> Result<Stored, Status> {
        let mut current = self.get_fresh(kind, namespace, name).await?;
        for _attempt in 0..ATTEMPTS_MAX {
            let Some(cached) = current else { return Err(Status::not_found(kind.group, kind.plural, name)) };
            let object = self.decode_in_form(kind, &cached).await?;
            let Some(new) = change(object.clone())? else { return Ok(Stored { object, cached }) };
            match self.replace(kind, &cached, new).await? {
                Written::Stored(stored) => return Ok(stored),
                Written::Changed(newer) => current = newer,
            }
        }
        Err(Self::failed(
            kind,
            Failure::Contention { kind: kind.kind, name: name.to_owned(), attempts: ATTEMPTS_MAX },
        ))
    }

    /// A cached object as a tree in the served form of `kind`.
    ///
    /// # Errors
    /// 500 for bytes that cannot be decoded.
    pub fn decode_served(&self, kind: &'static Kind, cached: &Cached) -> Result<Value, Status> {
        cached.decode_served(kind).map_err(|error| Self::failed(kind, error))
    }

    /// What storing `object` would leave behind, without storing it: for dry runs. The resource version stays as it is.
    ///
    /// # Errors
    /// 413; an object that cannot be encoded or converted.
    pub async fn preview(&self, kind: &'static Kind, object: Value) -> Result<Stored, Status> {
        let version = Meta(&object).resource_version().parse().map_or(Revision(0), Revision);
        let object = self.to_stored_form(kind, object).await?;
        let encoded = self.encode(kind, object).map_err(|failure| Self::failed(kind, failure))?;
        let stored = encoded.into_stored(version, None).map_err(|failure| Self::failed(kind, failure))?;
        self.shown_preview(kind, stored, version).await
    }

    /// Runs the transaction of a write, below a span of that name (upstream's for its storage) if the request is traced.
    async fn txn(
        &self,
        name: &'static str,
        kind: &'static Kind,
        txn: Txn,
    ) -> Result<TxnResponse, BackingError> {
        let mut span = trace::child(name);
        if !span.is_recorded() {
            return self.inner.store.txn(txn).await;
        }
        span.set("type", kind.kind);
        span.set("group", kind.group);
        span.set("resource", kind.plural);
        Box::pin(trace::within(span, self.inner.store.txn(txn))).await.1
    }

    /// The object that the failure branch of a transaction read.
    async fn found(
        &self,
        kind: &'static Kind,
        response: TxnResponse,
    ) -> Result<Option<Arc<Cached>>, Failure> {
        let vault = &self.inner.vault;
        for response in response.responses {
            if let OpResponse::Range(range) = response
                && let Some(kv) = range.kvs.first()
            {
                vault.unlock(std::iter::once(&kv.value)).await;
                return Ok(Some(Arc::new(Cached::unsealed(vault, kind.stored_kind(), kv)?)));
            }
        }
        Ok(None)
    }

    /// Hands what is about to be written to the feed. What is sealed is opened there: whether its key is still the present one is found out by that.
    fn hand_over(&self, key: &Bytes, encoded: &Encoded, value: &Bytes) -> Option<Handed<'_>> {
        if encoded.kind.is_custom || value.as_ptr() != encoded.value.as_ptr() {
            return None;
        }
        let header = Header::of(encoded.kind, &encoded.object, Revision(0));
        let parts = (encoded.kind, header, encoded.message.clone());
        Some(self.inner.handover.offer(key.clone(), value.clone(), parts))
    }

    fn key_of(kind: &'static Kind, cached: &Cached) -> Result<Bytes, Status> {
        object_key(kind, &cached.header.namespace, &cached.header.name)
            .map_err(|error| Self::failed(kind, error))
    }

    async fn lease_for(&self, kind: &'static Kind) -> Result<LeaseId, Failure> {
        if kind.stored_kind().kind != "Event" {
            return Ok(LeaseId::NONE);
        }
        Ok(self.inner.event_leases.lease(tokio::time::Instant::now()).await?)
    }

    fn encode(&self, kind: &'static Kind, mut object: Value) -> Result<Encoded, Failure> {
        let stored_kind = kind.stored_kind();
        // A webhook has made the stored form already.
        if kind != stored_kind && !Self::asks_to_convert(stored_kind) {
            kind.rules.to_storage(&mut object);
        }
        let mut meta = MetaMut(&mut object);
        meta.set_type(&stored_kind.api_version(), stored_kind.kind);
        meta.set_resource_version("");
        let mut message = Vec::with_capacity(1024);
        let (message, value) = if stored_kind.is_custom {
            json::encode(&object, &mut message);
            let message = Bytes::from(message);
            (message.clone(), message)
        } else {
            protobuf::encode(&object, stored_kind.schema(), &mut message)
                .map_err(|error| Failure::Encode { kind: kind.kind, reason: error.to_string() })?;
            let value = protobuf::envelope::wrap(&stored_kind.gvk(), &message);
            (Bytes::from(message), Bytes::from(value))
        };
        if value.len() > self.inner.object_bytes_max {
            return Err(Failure::ObjectTooLarge { bytes: value.len(), max: self.inner.object_bytes_max });
        }
        Ok(Encoded { kind: stored_kind, object, message, value })
    }
}

/// An object ready to be stored.
struct Encoded {
    kind: &'static Kind,
    object: Value,
    message: Bytes,
    value: Bytes,
}

impl Encoded {
    /// What the cache keeps of it under `revision`.
    fn raw(&self, revision: Revision) -> Result<Raw, Failure> {
        if self.kind.is_custom {
            return Ok(Cached::custom(self.kind, self.object.clone(), revision).raw);
        }
        let raw = if revision == Revision(0) {
            self.message.to_vec()
        } else {
            splice::with_resource_version(&self.message, revision)
                .map_err(|error| Failure::Encode { kind: self.kind.kind, reason: error.to_string() })?
        };
        Ok(Raw::whole(raw))
    }

    /// The object as it stands in the store under `revision`, and as the cache has it if that is known.
    fn into_stored(mut self, revision: Revision, cached: Option<Arc<Cached>>) -> Result<Stored, Failure> {
        let known = match cached {
            Some(cached) => Ok(cached),
            None => Err(self.raw(revision)?),
        };
        if revision != Revision(0) {
            MetaMut(&mut self.object).set_resource_version(&revision.to_string());
        }
        let cached = known.unwrap_or_else(|raw| {
            let header = Header::of(self.kind, &self.object, revision);
            Arc::new(Cached { header, kind: self.kind, raw })
        });
        Ok(Stored { object: self.object, cached })
    }
}
