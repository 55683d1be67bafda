//! Frames of a watch stream. A frame is made once per event, type and format, and shared by all watchers.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_apiserver_machinery::value::Value;
use mainstay_apiserver_machinery::{json, protobuf};
use mainstay_proto_api::{Status, WatchEventType};
use mainstay_store::Revision;

use super::list::{envelope_head, put_bytes, put_text};
use super::object::ObjectEncoder;
use super::{IncludeObject, View};
use crate::cache::{Cached, Event};
use crate::failure::Failure;

/// The annotation that marks the end of the initial events of a streaming list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The framing of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchMedia {
    /// One JSON object after another, a newline each.
    Json,
    /// Four bytes of big-endian length, then a `WatchEvent` message.
    Protobuf,
}

/// Makes the frames of one watch.
#[derive(Debug, Clone, Copy)]
pub struct FrameEncoder {
    /// How objects look.
    pub objects: ObjectEncoder,
    /// The framing.
    pub media: WatchMedia,
}

impl FrameEncoder {
    /// The frame that shows `event` as `kind`; shared where other watchers can use the same.
    ///
    /// # Errors
    /// Stored bytes that cannot be decoded.
    pub fn event(&self, event: &Event, kind: WatchEventType) -> Result<Bytes, Failure> {
        let object = match kind {
            WatchEventType::Deleted => event.last_state(),
            _ => Some(&event.object),
        };
        let object = object.ok_or_else(|| Failure::Encode {
            kind: self.objects.kind.kind,
            reason: "the last state of the object is not known".to_owned(),
        })?;
        match self.format_number(object) {
            Some(format) => event.frame((kind, format), || self.object(object, kind)),
            None => self.object(object, kind),
        }
    }

    /// A frame of an object that no event carries: the initial events.
    ///
    /// # Errors
    /// Stored bytes that cannot be decoded.
    pub fn object(&self, object: &Cached, kind: WatchEventType) -> Result<Bytes, Failure> {
        match self.media {
            WatchMedia::Json => {
                let mut out = json_start(kind, object.raw.len() * 2 + 256);
                self.objects.json(object, &mut out)?;
                out.extend_from_slice(b"}\n");
                Ok(Bytes::from(out))
            }
            WatchMedia::Protobuf => {
                let shown = self.objects.shown();
                let message = self.objects.message(object)?;
                let mut content = envelope_head(&shown.api_version, shown.kind, message.len());
                message.append_to(&mut content);
                Ok(protobuf_frame(kind, &content))
            }
        }
    }

    /// A bookmark at `revision`; `initial_end` marks the end of the initial events.
    ///
    /// # Errors
    /// The schema lacks the kind.
    pub fn bookmark(&self, revision: Revision, initial_end: bool) -> Result<Bytes, Failure> {
        let shown = self.objects.shown();
        let mut object = Value::map();
        object.set_path(&["kind"], shown.kind);
        object.set_path(&["apiVersion"], &*shown.api_version);
        object.set_path(&["metadata", "resourceVersion"], revision.to_string());
        match self.media {
            WatchMedia::Json => {
                // A table's metadata is a list's: the annotation stands on the object of a row.
                if let View::Table(_) = self.objects.view {
                    return Ok(table_bookmark(&object, revision, initial_end));
                }
                if initial_end {
                    object.set_path(&["metadata", "annotations", INITIAL_EVENTS_END], "true");
                }
                object.set_path(&["metadata", "creationTimestamp"], Value::Null);
                Ok(json_frame(WatchEventType::Bookmark, &object))
            }
            WatchMedia::Protobuf => {
                let mut meta = Vec::new();
                put_text(&mut meta, 6, &revision.to_string());
                if initial_end {
                    let mut entry = Vec::new();
                    put_text(&mut entry, 1, INITIAL_EVENTS_END);
                    put_text(&mut entry, 2, "true");
                    put_bytes(&mut meta, 12, &entry);
                }
                let mut message = Vec::new();
                put_bytes(&mut message, 1, &meta);
                let mut content = envelope_head(&shown.api_version, shown.kind, message.len());
                content.extend_from_slice(&message);
                Ok(protobuf_frame(WatchEventType::Bookmark, &content))
            }
        }
    }

    /// The ERROR event that ends a watch.
    ///
    /// # Errors
    /// A status that cannot be encoded.
    pub fn error(&self, status: &Status) -> Result<Bytes, Failure> {
        let failed = |reason: String| Failure::Encode { kind: "Status", reason };
        let tree = mainstay_apiserver_machinery::value::to_value(status)
            .map_err(|error| failed(error.to_string()))?;
        match self.media {
            WatchMedia::Json => Ok(json_frame(WatchEventType::Error, &tree)),
            WatchMedia::Protobuf => {
                let schema = mainstay_apiserver_machinery::schema::lookup("meta/v1.Status")
                    .ok_or_else(|| failed("the schema tables lack Status".to_owned()))?;
                let mut message = Vec::new();
                protobuf::encode(&tree, schema, &mut message).map_err(|error| failed(error.to_string()))?;
                let mut content = envelope_head("v1", "Status", message.len());
                content.extend_from_slice(&message);
                Ok(protobuf_frame(WatchEventType::Error, &content))
            }
        }
    }

    /// Numbers the formats that watchers share; table rows show ages, but upstream shares nothing there either.
    fn format_number(&self, object: &Arc<Cached>) -> Option<u8> {
        if self.objects.kind != object.kind {
            return None;
        }
        let view = match self.objects.view {
            View::Object => 0,
            View::Metadata => 1,
            View::Table(IncludeObject::None) => 2,
            View::Table(IncludeObject::Metadata) => 3,
            View::Table(IncludeObject::Object) => 4,
        };
        Some(view * 2 + u8::from(self.media == WatchMedia::Protobuf))
    }
}

fn json_start(kind: WatchEventType, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(br#"","object":"#);
    out
}

fn json_frame(kind: WatchEventType, object: &Value) -> Bytes {
    let mut out = json_start(kind, 512);
    json::encode(object, &mut out);
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}

fn table_bookmark(table: &Value, revision: Revision, initial_end: bool) -> Bytes {
    let mut table = table.clone();
    let mut object = Value::map();
    object.set_path(&["kind"], "PartialObjectMetadata");
    object.set_path(&["apiVersion"], "meta.k8s.io/v1");
    object.set_path(&["metadata", "resourceVersion"], revision.to_string());
    if initial_end {
        object.set_path(&["metadata", "annotations", INITIAL_EVENTS_END], "true");
    }
    let mut row = Value::map();
    row.set_path(&["cells"], Value::List(Vec::new()));
    row.set_path(&["object"], object);
    table.set_path(&["columnDefinitions"], Value::List(Vec::new()));
    table.set_path(&["rows"], Value::List(vec![row]));
    json_frame(WatchEventType::Bookmark, &table)
}

/// `WatchEvent{type = 1, object = 2: RawExtension{raw = 1}}` behind its length.
fn protobuf_frame(kind: WatchEventType, content: &[u8]) -> Bytes {
    let mut extension = Vec::with_capacity(content.len() + 6);
    put_bytes(&mut extension, 1, content);
    let mut out = Vec::with_capacity(extension.len() + 32);
    out.extend_from_slice(&[0; 4]);
    put_text(&mut out, 1, kind.as_str());
    put_bytes(&mut out, 2, &extension);
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(prefix) = out.get_mut(..4) {
        prefix.copy_from_slice(&length);
    }
    Bytes::from(out)
}
