//! Lists as streams: chunks are made from an immutable snapshot while the client reads, so a list of any length takes
//! constant memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use mainstay_apiserver_machinery::protobuf::envelope;
use mainstay_store::Revision;

use super::object::ObjectEncoder;
use super::{Media, View, table};
use crate::cache::splice::{put_varint, varint_len};
use crate::cache::{Cached, Snapshot};
use crate::failure::Failure;
use crate::selection::Selection;

/// Bytes in one chunk, about.
const CHUNK_BYTES: usize = 64 * 1024;
/// Objects taken from the source at once: finding the place to go on takes about as long as writing one object.
const BATCH_MAX: usize = 256;
/// Objects looked at for one batch, and batches for one chunk: a selective list gives way to others too.
const SCAN_MAX: usize = 2000;
const BATCHES_MAX: usize = 8;

/// `metadata` of a list.
#[derive(Debug, Clone, Default)]
pub struct ListMeta {
    /// The revision the list was taken at.
    pub revision: Revision,
    /// Where the next page starts; empty on the last.
    pub continue_token: String,
    /// Objects after this page, where they were counted.
    pub remaining: Option<u64>,
}

/// The objects of a list, in key order.
pub enum ListSource {
    /// Known ones: a page, or a list out of the store's history.
    Objects(std::vec::IntoIter<Arc<Cached>>),
    /// All that a selection finds in a snapshot.
    Scan {
        /// The snapshot.
        snapshot: Snapshot,
        /// The selection.
        selection: Selection,
        /// Where to go on; counts from the namespace.
        position: Option<Vec<u8>>,
    },
}

impl ListSource {
    /// All of `snapshot` that `selection` finds.
    pub fn scan(snapshot: Snapshot, selection: Selection) -> Self {
        Self::Scan { snapshot, selection, position: Some(Vec::new()) }
    }

    /// Objects at hand.
    pub fn objects(objects: Vec<Arc<Cached>>) -> Self {
        Self::Objects(objects.into_iter())
    }

    /// The next objects; `None` at the end. An empty batch only says that the scan goes on.
    pub fn next_batch(&mut self, max: usize) -> Option<Vec<Arc<Cached>>> {
        match self {
            Self::Objects(objects) => {
                let batch: Vec<_> = objects.by_ref().take(max).collect();
                (!batch.is_empty()).then_some(batch)
            }
            Self::Scan { snapshot, selection, position } => {
                let from = position.take()?;
                let mut batch = Vec::new();
                let mut last = None;
                for (seen, object) in snapshot.page(&selection.namespace, &from).enumerate() {
                    if seen >= SCAN_MAX || batch.len() >= max {
                        *position = last.map(|o: &Arc<Cached>| position_after(&selection.namespace, o));
                        break;
                    }
                    last = Some(object);
                    if selection.matches(object) {
                        batch.push(Arc::clone(object));
                    }
                }
                Some(batch)
            }
        }
    }

    /// The protobuf bytes of all items, before any of them is written.
    fn message_bytes(&mut self, encoder: &ObjectEncoder) -> Result<usize, Failure> {
        let mut total = 0;
        let mut count = |object: &Cached| -> Result<(), Failure> {
            let len = encoder.message(object)?.len();
            total += 1 + varint_len(len) + len;
            Ok(())
        };
        match self {
            Self::Objects(objects) => objects.as_slice().iter().try_for_each(|object| count(object))?,
            Self::Scan { snapshot, selection, .. } => snapshot
                .page(&selection.namespace, b"")
                .filter(|object| selection.matches(object))
                .try_for_each(|object| count(object))?,
        }
        Ok(total)
    }
}

/// The position right after an object, counted from `namespace`.
pub fn position_after(namespace: &str, object: &Cached) -> Vec<u8> {
    let mut position =
        if namespace.is_empty() { object.header.key() } else { object.header.name.to_string() }.into_bytes();
    position.push(0);
    position
}

/// The bytes of a list, chunk by chunk.
pub struct ListChunks {
    encoder: ObjectEncoder,
    media: Media,
    source: ListSource,
    /// Taken from the source, and not written yet.
    batch: std::vec::IntoIter<Arc<Cached>>,
    state: State,
}

enum State {
    Head(Vec<u8>),
    Items { first: bool },
    Done,
}

/// Starts a list in JSON or protobuf.
///
/// # Errors
/// Stored bytes that cannot be decoded; found here only for protobuf, whose length is written first.
pub fn list_body(
    encoder: ObjectEncoder,
    media: Media,
    meta: &ListMeta,
    mut source: ListSource,
) -> Result<ListChunks, Failure> {
    let head = match media {
        Media::Protobuf => protobuf_head(&encoder, meta, source.message_bytes(&encoder)?),
        Media::Json | Media::Yaml => json_head(&encoder, meta),
    };
    Ok(ListChunks { encoder, media, source, batch: Vec::new().into_iter(), state: State::Head(head) })
}

impl ListChunks {
    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// Stored bytes that cannot be decoded.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        let (mut out, mut first) = match std::mem::replace(&mut self.state, State::Done) {
            State::Head(head) => (head, true),
            State::Items { first } => (Vec::with_capacity(CHUNK_BYTES + 8 * 1024), first),
            State::Done => return Ok(None),
        };
        let mut batches = 0;
        while out.len() < CHUNK_BYTES {
            if let Some(object) = self.batch.next() {
                self.item(&object, &mut first, &mut out)?;
                continue;
            }
            // A selective scan does not hold the thread.
            if batches == BATCHES_MAX {
                break;
            }
            batches += 1;
            let Some(batch) = self.source.next_batch(BATCH_MAX) else {
                if self.media != Media::Protobuf {
                    out.extend_from_slice(b"]}");
                }
                return Ok(Some(Bytes::from(out)));
            };
            self.batch = batch.into_iter();
        }
        self.state = State::Items { first };
        Ok(Some(Bytes::from(out)))
    }

    fn item(&self, object: &Cached, first: &mut bool, out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.media == Media::Protobuf {
            let message = self.encoder.message(object)?;
            out.push(2 << 3 | 2);
            put_varint(out, message.len() as u64);
            message.append_to(out);
            return Ok(());
        }
        if !std::mem::take(first) {
            out.push(b',');
        }
        self.encoder.json_item(object, out)
    }
}

impl Stream for ListChunks {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.next_chunk().transpose())
    }
}

fn json_head(encoder: &ObjectEncoder, meta: &ListMeta) -> Vec<u8> {
    let shown = encoder.shown();
    let mut out = Vec::with_capacity(CHUNK_BYTES + 8 * 1024);
    out.extend_from_slice(
        format!(
            r#"{{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}""#,
            shown.list_kind, shown.api_version, meta.revision
        )
        .as_bytes(),
    );
    if !meta.continue_token.is_empty() {
        // The token is base64url: nothing in it needs escaping.
        out.extend_from_slice(format!(r#","continue":"{}""#, meta.continue_token).as_bytes());
    }
    if let Some(remaining) = meta.remaining {
        out.extend_from_slice(format!(r#","remainingItemCount":{remaining}"#).as_bytes());
    }
    if let View::Table(_) = encoder.view {
        out.extend_from_slice(br#"},"columnDefinitions":"#);
        table::columns(encoder.kind, &mut out);
        out.extend_from_slice(br#","rows":["#);
    } else {
        out.extend_from_slice(br#"},"items":["#);
    }
    out
}

fn protobuf_head(encoder: &ObjectEncoder, meta: &ListMeta, items_bytes: usize) -> Vec<u8> {
    // ListMeta: selfLink = 1, resourceVersion = 2, continue = 3, remainingItemCount = 4.
    let mut list_meta = Vec::with_capacity(64);
    put_text(&mut list_meta, 2, &meta.revision.to_string());
    if !meta.continue_token.is_empty() {
        put_text(&mut list_meta, 3, &meta.continue_token);
    }
    if let Some(remaining) = meta.remaining {
        list_meta.push(4 << 3);
        put_varint(&mut list_meta, remaining);
    }
    let mut head = Vec::with_capacity(list_meta.len() + 4);
    put_bytes(&mut head, 1, &list_meta);
    let shown = encoder.shown();
    let mut out = envelope_head(&shown.api_version, shown.list_kind, head.len() + items_bytes);
    out.extend_from_slice(&head);
    out
}

/// The beginning of an envelope whose content, of `content_bytes`, follows.
pub(super) fn envelope_head(api_version: &str, kind: &str, content_bytes: usize) -> Vec<u8> {
    let mut type_meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    put_text(&mut type_meta, 1, api_version);
    put_text(&mut type_meta, 2, kind);
    let mut out = Vec::with_capacity(type_meta.len() + 32);
    out.extend_from_slice(envelope::MAGIC);
    put_bytes(&mut out, 1, &type_meta);
    out.push(2 << 3 | 2);
    put_varint(&mut out, content_bytes as u64);
    out
}

/// Appends a length-delimited field.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a string field.
pub(super) fn put_text(out: &mut Vec<u8>, field: u8, text: &str) {
    put_bytes(out, field, text.as_bytes());
}
