//! One cached object in the form a client asked for.

use std::borrow::Cow;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::schema::Type;
use mainstay_apiserver_machinery::value::Value;
use mainstay_apiserver_machinery::{json, protobuf};
use time::OffsetDateTime;

use super::table;
use super::{IncludeObject, View};
use crate::cache::{Cached, Raw, splice};
use crate::failure::Failure;

/// `apiVersion` of tables and metadata-only objects.
pub(super) const META_VERSION: &str = "meta.k8s.io/v1";

/// How the objects of one response look.
#[derive(Debug, Clone, Copy)]
pub struct ObjectEncoder {
    /// The served kind.
    pub kind: &'static Kind,
    /// The view.
    pub view: View,
    /// Now, for ages in table rows.
    pub now: OffsetDateTime,
}

/// Type of the shown objects, as it stands in envelopes and lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// `apiVersion`.
    pub api_version: Cow<'static, str>,
    /// `kind` of one.
    pub kind: &'static str,
    /// `kind` of a list.
    pub list_kind: &'static str,
}

/// A bare protobuf message.
pub enum Message<'a> {
    /// As it is stored.
    Stored(&'a Raw),
    /// In another form.
    Made(Vec<u8>),
}

impl Message<'_> {
    /// How long it is.
    #[allow(clippy::len_without_is_empty, reason = "no message is ever empty: it has a resource version")]
    pub fn len(&self) -> usize {
        match self {
            Self::Stored(raw) => raw.len(),
            Self::Made(bytes) => bytes.len(),
        }
    }

    /// Appends it.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Stored(raw) => raw.append_to(out),
            Self::Made(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl ObjectEncoder {
    /// The type that the client sees.
    pub fn shown(&self) -> Shown {
        match self.view {
            View::Object => Shown {
                api_version: self.kind.api_version(),
                kind: self.kind.kind,
                list_kind: self.kind.list_kind,
            },
            View::Metadata => Shown {
                api_version: Cow::Borrowed(META_VERSION),
                kind: "PartialObjectMetadata",
                list_kind: "PartialObjectMetadataList",
            },
            View::Table(_) => {
                Shown { api_version: Cow::Borrowed(META_VERSION), kind: "Table", list_kind: "Table" }
            }
        }
    }

    /// Appends one object as JSON text; for tables, a table of one row.
    ///
    /// # Errors
    /// Stored bytes that cannot be decoded.
    pub fn json(&self, object: &Cached, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self.view {
            View::Object => self.object_json(object, out),
            View::Metadata => self.metadata_json(object, out),
            View::Table(include) => table::single(self, include, object, out),
        }
    }

    /// Appends one object as an element of a list: as [`ObjectEncoder::json`], but a table's element is a row.
    ///
    /// # Errors
    /// Stored bytes that cannot be decoded.
    pub fn json_item(&self, object: &Cached, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self.view {
            View::Table(include) => table::row(self, include, object, out),
            _ => self.json(object, out),
        }
    }

    /// The object as a bare protobuf message.
    ///
    /// # Errors
    /// Stored bytes that cannot be decoded.
    pub fn message<'a>(&self, object: &'a Cached) -> Result<Message<'a>, Failure> {
        let failed = |reason: String| Failure::Encode { kind: self.kind.kind, reason };
        match self.view {
            View::Metadata if object.kind.is_custom => {
                let mut out = Vec::with_capacity(512);
                let schema = self.kind.schema();
                protobuf::encode(&metadata_of(object)?, schema, &mut out)
                    .map_err(|error| failed(error.to_string()))?;
                Ok(Message::Made(out))
            }
            // Negotiation has offered no protobuf for these.
            _ if object.kind.is_custom => Err(failed("custom resources have no protobuf form".to_owned())),
            View::Metadata => splice::metadata_only(&object.raw.bytes())
                .map(Message::Made)
                .map_err(|error| failed(error.to_string())),
            _ if self.kind == object.kind => Ok(Message::Stored(&object.raw)),
            _ => {
                let tree = object.decode_served(self.kind)?;
                let mut out = Vec::with_capacity(object.raw.len());
                protobuf::encode(&tree, self.kind.schema(), &mut out)
                    .map_err(|error| failed(error.to_string()))?;
                Ok(Message::Made(out))
            }
        }
    }

    fn object_json(&self, object: &Cached, out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.kind == object.kind && object.kind.is_custom {
            object.raw.append_to(out);
            return Ok(());
        }
        if self.kind == object.kind {
            return self.transcode(
                &object.raw.bytes(),
                self.kind.schema(),
                (&self.kind.api_version(), self.kind.kind),
                out,
            );
        }
        json::encode(&object.decode_served(self.kind)?, out);
        Ok(())
    }

    pub(super) fn metadata_json(&self, object: &Cached, out: &mut Vec<u8>) -> Result<(), Failure> {
        if object.kind.is_custom {
            json::encode(&metadata_of(object)?, out);
            return Ok(());
        }
        protobuf::transcode_metadata_json(&object.raw.bytes(), "", out)
            .map_err(|error| Failure::Encode { kind: self.kind.kind, reason: error.to_string() })
    }

    /// What a table row carries of its object.
    pub(super) fn row_object(
        &self,
        include: IncludeObject,
        object: &Cached,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match include {
            IncludeObject::None => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            IncludeObject::Metadata => self.metadata_json(object, out),
            IncludeObject::Object => self.object_json(object, out),
        }
    }

    fn transcode(
        &self,
        message: &[u8],
        schema: &'static Type,
        shown: (&str, &str),
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let identity = protobuf::Identity { api_version: shown.0, kind: shown.1, resource_version: "" };
        protobuf::transcode_json(message, schema, identity, out)
            .map_err(|error| Failure::Encode { kind: self.kind.kind, reason: error.to_string() })
    }
}

/// A custom resource as a `PartialObjectMetadata`.
fn metadata_of(object: &Cached) -> Result<Value, Failure> {
    let mut whole = object.decode()?;
    let mut out = Value::map();
    out.set_path(&["kind"], "PartialObjectMetadata");
    out.set_path(&["apiVersion"], META_VERSION);
    out.set_path(&["metadata"], whole.get_mut("metadata").map(Value::take).unwrap_or_default());
    Ok(out)
}
