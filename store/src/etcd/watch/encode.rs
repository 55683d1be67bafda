//! Watch responses as bytes. Events are written once and then copied into the response of each watch.
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::head::Head;
use crate::api::{Event, EventKind, KeyValue};

/// `WatchResponse.events`.
const EVENTS_FIELD: u32 = 11;
/// `Event.kv` and `Event.prev_kv`.
const KV_FIELD: u32 = 2;
const PREV_KV_FIELD: u32 = 3;

/// Events as the field `events` of a response, and where each ends. Clones share both.
#[derive(Clone, Debug, Default)]
pub(super) struct EncodedEvents {
    pub(super) bytes: Bytes,
    pub(super) ends: Arc<[usize]>,
}

/// A response: what is before the events, then these. Its bytes come together only where the connection takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) head: Head,
    pub(super) events: Bytes,
}

impl Response {
    /// One without events.
    pub(super) fn of(message: &pb::WatchResponse) -> Self {
        Self { head: Head::default(), events: message.encode_to_vec().into() }
    }

    pub(super) fn len(&self) -> usize {
        self.head.as_bytes().len() + self.events.len()
    }
}

/// Writes events.
#[derive(Debug, Default)]
pub(super) struct EventWriter {
    bytes: BytesMut,
    ends: Vec<usize>,
}

impl EventWriter {
    pub(super) fn push(&mut self, kind: EventKind, kv: &KeyValue, prev: Option<&KeyValue>) {
        let deleted = kind == EventKind::Delete;
        let kv_len = key_value_len(kv);
        let prev_len = prev.map(key_value_len);
        let message_len = if deleted { 2 } else { 0 }
            + nested_len(KV_FIELD, kv_len)
            + prev_len.map_or(0, |len| nested_len(PREV_KV_FIELD, len));
        let out = &mut self.bytes;
        out.reserve(nested_len(EVENTS_FIELD, message_len));
        encode_key(EVENTS_FIELD, WireType::LengthDelimited, out);
        encode_varint(message_len as u64, out);
        if deleted {
            prost::encoding::int32::encode(1, &1, out);
        }
        put_key_value(KV_FIELD, kv, kv_len, out);
        if let (Some(prev), Some(len)) = (prev, prev_len) {
            put_key_value(PREV_KV_FIELD, prev, len, out);
        }
        self.ends.push(self.bytes.len());
    }

    pub(super) fn push_event(&mut self, event: &Event) {
        self.push(event.kind, &event.kv, event.prev.as_ref());
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn finish(self) -> EncodedEvents {
        EncodedEvents { bytes: self.bytes.freeze(), ends: self.ends.into() }
    }
}

fn nested_len(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
}

fn bytes_len(bytes: &Bytes) -> usize {
    if bytes.is_empty() { 0 } else { 1 + encoded_len_varint(bytes.len() as u64) + bytes.len() }
}

fn number_len(value: i64) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(value as u64) }
}

fn key_value_len(kv: &KeyValue) -> usize {
    bytes_len(&kv.key)
        + number_len(kv.create_revision.0)
        + number_len(kv.mod_revision.0)
        + number_len(kv.version)
        + bytes_len(&kv.value)
        + number_len(kv.lease.0)
}

fn put_key_value(field: u32, kv: &KeyValue, len: usize, out: &mut BytesMut) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
    put_bytes(1, &kv.key, out);
    put_number(2, kv.create_revision.0, out);
    put_number(3, kv.mod_revision.0, out);
    put_number(4, kv.version, out);
    put_bytes(5, &kv.value, out);
    put_number(6, kv.lease.0, out);
}

fn put_bytes(field: u32, bytes: &Bytes, out: &mut BytesMut) {
    if !bytes.is_empty() {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.put_slice(bytes);
    }
}

fn put_number(field: u32, value: i64, out: &mut BytesMut) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value as u64, out);
    }
}

/// A response in pieces below `bytes_max` where that is possible: an event is never cut.
pub(super) fn fragments(
    header: &pb::ResponseHeader,
    watch_id: i64,
    events: &EncodedEvents,
    bytes_max: usize,
) -> Vec<Response> {
    let room = bytes_max.saturating_sub(Head::new(header, watch_id, true).as_bytes().len()).max(1);
    let mut pieces = Vec::new();
    let (mut from, mut to) = (0, 0);
    for end in events.ends.iter() {
        if to > from && end - from > room {
            pieces.push(from..to);
            from = to;
        }
        to = *end;
    }
    pieces.push(from..to);
    let last = pieces.len() - 1;
    let piece = |(index, events_at)| Response {
        head: Head::new(header, watch_id, index < last),
        events: events.bytes.slice(events_at),
    };
    pieces.into_iter().enumerate().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LeaseId, Revision};

    fn kv(key: &str, value: &'static str) -> KeyValue {
        KeyValue {
            key: key.to_owned().into(),
            value: value.into(),
            create_revision: Revision(300),
            mod_revision: Revision(1 << 40),
            version: 7,
            lease: LeaseId(-5),
        }
    }

    const HEADER: pb::ResponseHeader =
        pb::ResponseHeader { cluster_id: u64::MAX, member_id: 2, revision: 3, raft_term: 4 };
    const WATCH_ID: i64 = 9;

    fn read(response: &Response) -> pb::WatchResponse {
        let bytes = [response.head.as_bytes(), &response.events].concat();
        assert_eq!(bytes.len(), response.len());
        pb::WatchResponse::decode(&bytes[..]).unwrap()
    }

    #[test]
    fn events_read_back_as_they_were() {
        let mut writer = EventWriter::default();
        let deleted = KeyValue { key: "gone".into(), mod_revision: Revision(9), ..KeyValue::default() };
        writer.push(EventKind::Put, &kv("a", "x"), None);
        writer.push(EventKind::Delete, &deleted, Some(&kv("gone", "")));
        let events = writer.finish();
        let read = read(&Response { head: Head::new(&HEADER, WATCH_ID, false), events: events.bytes });
        assert_eq!((read.header, read.watch_id), (Some(HEADER), WATCH_ID));
        assert_eq!(read.events[0].kv, Some(super::super::super::convert::key_value(kv("a", "x"))));
        assert_eq!((read.events[0].r#type, &read.events[0].prev_kv), (0, &None));
        assert_eq!(read.events[1].r#type, 1);
        assert_eq!(read.events[1].kv.as_ref().unwrap().mod_revision, 9);
        assert_eq!(read.events[1].prev_kv, Some(super::super::super::convert::key_value(kv("gone", ""))));
    }

    #[test]
    fn fragments_are_small_and_together_whole() {
        let mut writer = EventWriter::default();
        for number in 0..20 {
            writer.push(EventKind::Put, &kv(&format!("key-{number}"), "value"), None);
        }
        let events = writer.finish();
        let pieces = fragments(&HEADER, WATCH_ID, &events, 150);
        let read: Vec<_> = pieces.iter().map(read).collect();
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.len() <= 150));
        assert_eq!(read.iter().map(|piece| piece.events.len()).sum::<usize>(), 20);
        assert!(read.iter().rev().skip(1).all(|piece| piece.fragment) && !read.last().unwrap().fragment);
        assert_eq!(fragments(&HEADER, WATCH_ID, &events, 1 << 20).len(), 1);
        assert_eq!(fragments(&HEADER, WATCH_ID, &events, 1).len(), 20, "an event is never cut");
    }
}
