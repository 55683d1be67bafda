//! Watch responses read where they lie: what a load needs of each event is when it was sent.
use bytes::Buf;
use prost::encoding::{DecodeContext, decode_key, decode_varint, skip_field};

const CREATED: u32 = 3;
const EVENTS: u32 = 11;
const EVENT_KV: u32 = 2;
const KV_VALUE: u32 = 5;

/// Whether a `WatchResponse` says that a watch was created.
pub(crate) fn is_created(response: &[u8]) -> bool {
    let mut created = false;
    fields(response, |tag, value| created |= tag == CREATED && matches!(value, Value::Other));
    created
}

/// The first eight bytes of each event's value: when it was sent.
pub(crate) fn sent(response: &[u8], mut each: impl FnMut(u64)) {
    fields(response, |tag, value| {
        if let (EVENTS, Value::Bytes(event)) = (tag, value) {
            let kv = field(event, EVENT_KV).expect("an event has a key");
            let value = field(kv, KV_VALUE).expect("a put has a value");
            each(u64::from_le_bytes(value[..8].try_into().unwrap()));
        }
    });
}

enum Value<'m> {
    Bytes(&'m [u8]),
    Other,
}

fn fields<'m>(message: &'m [u8], mut each: impl FnMut(u32, Value<'m>)) {
    let mut rest = message;
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).unwrap();
        if wire_type == prost::encoding::WireType::LengthDelimited {
            let bytes = decode_varint(&mut rest).unwrap() as usize;
            each(tag, Value::Bytes(&rest[..bytes]));
            rest = &rest[bytes..];
        } else {
            skip_field(wire_type, tag, &mut rest, DecodeContext::default()).unwrap();
            each(tag, Value::Other);
        }
    }
}

/// A length-delimited field of a message.
fn field(message: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut rest = message;
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).unwrap();
        if tag == wanted {
            let bytes = decode_varint(&mut rest).unwrap() as usize;
            return Some(&rest[..bytes]);
        }
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).unwrap();
    }
    None
}
