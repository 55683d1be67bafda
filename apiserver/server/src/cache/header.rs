//! The few fields of a stored object that reads look at. There is one for each object, so it is small.

use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value::Value;
use mainstay_store::Revision;
use smol_str::SmolStr;

use super::cached::joined;
use super::{Fields, Uid};

/// `metadata.labels`, sorted by key.
pub type LabelSet = Arc<[(SmolStr, SmolStr)]>;

/// What reads, selectors and controllers of the server look at without decoding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// `metadata.name`.
    pub name: SmolStr,
    /// `metadata.namespace`, or empty.
    pub namespace: SmolStr,
    /// `metadata.uid`.
    pub uid: Uid,
    /// The store revision of the last write.
    pub revision: Revision,
    /// `metadata.labels`, sorted by key; objects with equal ones may share them.
    pub labels: LabelSet,
    /// Values of the kind's selectable fields besides name and namespace.
    pub fields: Fields,
    /// The uid of the owner that is the managing controller; empty where there is none.
    pub controller: Uid,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Whether the store holds it sealed otherwise than it would be now.
    pub stale: bool,
}

impl Header {
    /// Reads the header out of a decoded object.
    pub fn of(kind: &'static Kind, object: &Value, revision: Revision) -> Self {
        let meta = Meta(object);
        Self {
            name: meta.name().into(),
            namespace: meta.namespace().into(),
            uid: meta.uid().into(),
            revision,
            labels: meta.label_pairs().map(|(k, v)| (k.into(), v.into())).collect(),
            fields: Fields::new(kind.rules.selectable_fields(), &kind.rules.fields(object)),
            controller: meta.controller().map(|owner| owner.uid.into()).unwrap_or_default(),
            deleting: meta.is_deleting(),
            stale: false,
        }
    }

    /// `namespace/name`, or the name alone.
    pub fn key(&self) -> String {
        if self.namespace.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }

    /// One label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok()?;
        self.labels.get(at).map(|(_, v)| v.as_str())
    }

    /// One selectable field; `None` for a field that the kind does not have.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => self.fields.get(name),
        }
    }

    pub(super) fn key_bytes(&self) -> impl Iterator<Item = u8> {
        joined(&self.namespace, &self.name)
    }
}
