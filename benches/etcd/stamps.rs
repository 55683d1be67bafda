//! Watch streams read with as little work as possible: the generator shares its cores with the server, and must not be what is measured.
use bytes::{Buf, BufMut};
use futures::Stream;
use mainstay_proto_wire::etcd::etcdserverpb::WatchRequest;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

/// What a load needs of a `WatchResponse`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamps {
    pub(crate) created: bool,
    /// The first eight bytes of each event's value: when it was sent.
    pub(crate) sent: Vec<u64>,
}

const CREATED: u32 = 3;
const EVENTS: u32 = 11;
const EVENT_KV: u32 = 2;
const KV_VALUE: u32 = 5;

/// Opens a watch stream.
pub(crate) async fn watch(
    channel: Channel,
    requests: impl Stream<Item = WatchRequest> + Send + 'static,
) -> Streaming<Stamps> {
    let mut client = Grpc::new(channel).max_decoding_message_size(64 << 20);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
    let codec = ProstCodec::<WatchRequest, Stamps>::default();
    client.streaming(Request::new(requests), path, codec).await.unwrap().into_inner()
}

impl prost::Message for Stamps {
    fn encode_raw(&self, _out: &mut impl BufMut) {
        unreachable!("only servers send it");
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            CREATED => prost::encoding::bool::merge(wire_type, &mut self.created, buffer, context),
            EVENTS => {
                let bytes = decode_varint(buffer)? as usize;
                let event = buffer.copy_to_bytes(bytes);
                let kv = field(&event, EVENT_KV).expect("an event has a key");
                let value = field(kv, KV_VALUE).expect("a put has a value");
                self.sent.push(u64::from_le_bytes(value[..8].try_into().unwrap()));
                Ok(())
            }
            _ => skip_field(wire_type, tag, buffer, context),
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
