//! What stands before the events in a response: few bytes, written at once and without memory of their own, since each watch has another.
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use prost::Message;
use prost::encoding::{WireType, bool, encode_key, encode_varint, int64};

/// `WatchResponse.header`, `.watch_id` and `.fragment`.
const HEADER_FIELD: u32 = 1;
const WATCH_ID_FIELD: u32 = 2;
const FRAGMENT_FIELD: u32 = 7;

/// The header has four numbers of at most eleven bytes and two bytes before them; the watch's number has eleven, the flag two.
const BYTES_MAX: usize = 4 * 11 + 2 + 11 + 2;

/// The head of a response with events, as bytes; by default there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    bytes: [u8; BYTES_MAX],
    len: u8,
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: [0; BYTES_MAX], len: 0 }
    }
}

impl Head {
    pub(super) fn new(header: &pb::ResponseHeader, watch_id: i64, fragment: bool) -> Self {
        let mut head = Self::default();
        let mut out = &mut head.bytes[..];
        encode_key(HEADER_FIELD, WireType::LengthDelimited, &mut out);
        encode_varint(header.encoded_len() as u64, &mut out);
        header.encode_raw(&mut out);
        if watch_id != 0 {
            int64::encode(WATCH_ID_FIELD, &watch_id, &mut out);
        }
        if fragment {
            bool::encode(FRAGMENT_FIELD, &fragment, &mut out);
        }
        let left = out.len();
        head.len = (BYTES_MAX - left) as u8;
        head
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_what_the_message_would_be() {
        for (number, watch_id, fragment) in
            [(0, 0, false), (1, 7, true), (u64::MAX, -1, true), (300, i64::MAX, false)]
        {
            let header = pb::ResponseHeader {
                cluster_id: number,
                member_id: number,
                revision: number as i64,
                raft_term: number,
            };
            let message = pb::WatchResponse {
                header: Some(header),
                watch_id,
                fragment,
                ..pb::WatchResponse::default()
            };
            assert_eq!(Head::new(&header, watch_id, fragment).as_bytes(), message.encode_to_vec());
        }
    }
}
