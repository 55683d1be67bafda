//! One stored object as the cache keeps it: its wire bytes and the few fields that reads look at.

use std::cmp::Ordering;
use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_apiserver_machinery::{json, protobuf};
use mainstay_store::{KeyValue, Revision};
use serde::de::DeserializeOwned;

use super::commons::Commons;
use super::{Header, Raw, splice};
use crate::encryption::Vault;
use crate::failure::Failure;

/// An object of the cache. Never changes; an update makes a new one.
pub struct Cached {
    /// The decoded fields.
    pub header: Header,
    /// The kind whose form is stored.
    pub kind: &'static Kind,
    /// The bare protobuf message (no envelope), or the JSON text of a custom resource, with
    /// `metadata.resourceVersion` filled in.
    pub raw: Raw,
}

/// Why stored bytes could not be taken into the cache or read back.
#[derive(Debug, thiserror::Error)]
#[error("stored {kind} {key:?} cannot be decoded: {reason}")]
pub struct StoredDataError {
    /// The kind expected.
    pub kind: &'static str,
    /// Key or `namespace/name`.
    pub key: String,
    /// What is wrong.
    pub reason: String,
}

impl Cached {
    /// Takes over what the store holds: an envelope, or JSON of a custom resource, without resource version.
    ///
    /// # Errors
    /// Bytes that are not an object of `kind`.
    pub fn from_store(
        kind: &'static Kind,
        value: &[u8],
        revision: Revision,
        key: &[u8],
    ) -> Result<Self, StoredDataError> {
        let failed = |reason: String| StoredDataError {
            kind: kind.kind,
            key: String::from_utf8_lossy(key).into_owned(),
            reason,
        };
        if kind.is_custom {
            let mut object = json::decode_free(value).map_err(|error| failed(error.to_string()))?;
            // It may have been stored when another version was the stored one.
            let version = Meta(&object).api_version().rsplit('/').next().unwrap_or_default();
            let kind = kind.rules.version(version).unwrap_or(kind);
            kind.rules.loaded(&mut object);
            return Ok(Self::custom(kind, object, revision));
        }
        let envelope = protobuf::envelope::unwrap(value).map_err(|error| failed(error.to_string()))?;
        let object =
            protobuf::decode(envelope.raw, kind.schema()).map_err(|error| failed(error.to_string()))?;
        let raw = splice::with_resource_version(envelope.raw, revision)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { header: Header::of(kind, &object, revision), kind, raw: Raw::whole(raw) })
    }

    /// What the store holds under a key, opened by `vault`; a KMS has been asked for what that takes.
    ///
    /// # Errors
    /// A value that cannot be opened; bytes that are not an object of `kind`.
    pub(crate) fn unsealed(vault: &Vault, kind: &'static Kind, kv: &KeyValue) -> Result<Self, Failure> {
        let plain = vault.unseal(kind, &kv.key, &kv.value)?;
        let mut cached = Self::from_store(kind, &plain.value, kv.mod_revision, &kv.key)?;
        cached.header.stale = plain.is_stale;
        Ok(cached)
    }

    /// The same object; labels and field sets that others have too are shared with them. Custom resources are text and
    /// share no field sets.
    pub(super) fn sharing(mut self, commons: &Commons) -> Self {
        self.header.labels = commons.labels(self.header.labels);
        let raw = if self.kind.is_custom { None } else { commons.message(&self.raw) };
        Self { raw: raw.unwrap_or(self.raw), ..self }
    }

    /// A custom resource in its stored form, which becomes its JSON text under `revision`.
    pub(crate) fn custom(kind: &'static Kind, mut object: Value, revision: Revision) -> Self {
        let mut meta = MetaMut(&mut object);
        meta.set_type(&kind.api_version(), kind.kind);
        if revision != Revision(0) {
            meta.set_resource_version(&revision.to_string());
        }
        let mut raw = Vec::with_capacity(1024);
        json::encode(&object, &mut raw);
        Self { header: Header::of(kind, &object, revision), kind, raw: Raw::whole(raw) }
    }

    /// The same object under another revision: what a DELETED event shows.
    ///
    /// # Errors
    /// Bytes that are not an object, which [`Cached::from_store`] has excluded.
    pub fn at_revision(&self, revision: Revision) -> Result<Self, StoredDataError> {
        if self.kind.is_custom {
            return Ok(Self::custom(self.kind, self.decode()?, revision));
        }
        let raw = splice::with_resource_version(&self.raw.bytes(), revision)
            .map_err(|error| self.failed(error.to_string()))?;
        Ok(Self { header: Header { revision, ..self.header.clone() }, kind: self.kind, raw: Raw::whole(raw) })
    }

    /// The object as a tree, with `apiVersion`, `kind` and `metadata.resourceVersion`.
    ///
    /// # Errors
    /// Bytes that cannot be decoded.
    pub fn decode(&self) -> Result<Value, StoredDataError> {
        if self.kind.is_custom {
            return json::decode_free(&self.raw.bytes()).map_err(|error| self.failed(error.to_string()));
        }
        let mut object = protobuf::decode(&self.raw.bytes(), self.kind.schema())
            .map_err(|error| self.failed(error.to_string()))?;
        MetaMut(&mut object).set_type(&self.kind.api_version(), self.kind.kind);
        Ok(object)
    }

    /// The object as a tree in the served form of `kind`, which may differ from the stored one.
    ///
    /// # Errors
    /// Bytes that cannot be decoded; a form that only a webhook makes: see `Registry::in_form`.
    pub fn decode_served(&self, kind: &'static Kind) -> Result<Value, StoredDataError> {
        let mut object = self.decode()?;
        if kind != self.kind {
            if kind.rules.converter().is_some() {
                return Err(self.failed(format!("{} is not converted yet", kind.api_version())));
            }
            kind.rules.from_storage(&mut object);
            MetaMut(&mut object).set_type(&kind.api_version(), kind.kind);
        }
        Ok(object)
    }

    /// The object as a typed struct.
    ///
    /// # Errors
    /// Bytes that cannot be decoded, or a type that does not fit.
    pub fn decode_as<T: DeserializeOwned>(&self) -> Result<T, StoredDataError> {
        value::from_value(&self.decode()?).map_err(|error| self.failed(error.to_string()))
    }

    fn failed(&self, reason: String) -> StoredDataError {
        StoredDataError { kind: self.kind.kind, key: self.header.key(), reason }
    }
}

impl std::fmt::Debug for Cached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}@{}", self.kind.kind, self.header.key(), self.header.revision)
    }
}

pub(super) fn joined<'a>(namespace: &'a str, name: &'a str) -> impl Iterator<Item = u8> + use<'a> {
    let slash = (!namespace.is_empty()).then_some(b'/');
    namespace.bytes().chain(slash).chain(name.bytes())
}

/// A place in the sorted map: ordered as the store's keys are, by the bytes of `namespace/name`.
#[derive(Debug, Clone)]
pub(super) struct Entry(pub(super) Arc<Cached>);

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.0.header, &other.0.header);
        if a.namespace == b.namespace {
            return a.name.as_bytes().cmp(b.name.as_bytes());
        }
        a.key_bytes().cmp(b.key_bytes())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// An object's name, to look it up with.
#[derive(Debug, Clone, Copy)]
pub(super) struct ObjectName<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl equivalent::Equivalent<Entry> for ObjectName<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        entry.0.header.name == self.name && entry.0.header.namespace == self.namespace
    }
}

impl equivalent::Comparable<Entry> for ObjectName<'_> {
    fn compare(&self, entry: &Entry) -> Ordering {
        let header = &entry.0.header;
        if self.namespace == header.namespace {
            return self.name.as_bytes().cmp(header.name.as_bytes());
        }
        joined(self.namespace, self.name).cmp(header.key_bytes())
    }
}

/// A position in key order, which need not be an object's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position<'a>(pub(super) &'a [u8]);

impl equivalent::Equivalent<Entry> for Position<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        self.0.iter().copied().eq(entry.0.header.key_bytes())
    }
}

impl equivalent::Comparable<Entry> for Position<'_> {
    fn compare(&self, entry: &Entry) -> Ordering {
        self.0.iter().copied().cmp(entry.0.header.key_bytes())
    }
}
