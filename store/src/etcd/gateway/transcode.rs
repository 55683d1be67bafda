//! JSON to protobuf and back, as proto3 says: bytes as base64, 64-bit numbers as strings, enums by name.
use bytes::{Bytes, BytesMut};
use mainstay_proto_wire::etcd::DESCRIPTORS;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use super::frames::put_frame;

/// Why JSON is not a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum JsonError {
    #[error("{0}")]
    Syntax(serde_json::Error),
    #[error("{what}: {source}")]
    Shape { what: String, source: serde_json::Error },
}

/// A method as its descriptor has it.
#[derive(Clone, Debug)]
pub(super) struct Transcoder {
    input: MessageDescriptor,
    output: MessageDescriptor,
    pub(super) streams_requests: bool,
    pub(super) streams_responses: bool,
}

/// The descriptions of all methods.
#[derive(Clone, Debug, Default)]
pub(super) struct Methods(DescriptorPool);

impl Methods {
    pub(super) fn load() -> Self {
        match DescriptorPool::decode(DESCRIPTORS) {
            Ok(pool) => Self(pool),
            Err(error) => {
                tracing::error!(%error, "the JSON gateway has no descriptors and serves nothing");
                Self::default()
            }
        }
    }

    /// The method of a gRPC path.
    pub(super) fn get(&self, path: &str) -> Option<Transcoder> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let service = self.0.get_service_by_name(service)?;
        let method = service.methods().find(|found| found.name() == method)?;
        Some(Transcoder {
            input: method.input(),
            output: method.output(),
            streams_requests: method.is_client_streaming(),
            streams_responses: method.is_server_streaming(),
        })
    }
}

impl Transcoder {
    /// The body of a gRPC request: one message, or for a method that takes a stream all that are there.
    pub(super) fn request(&self, json: &[u8]) -> Result<Bytes, JsonError> {
        let mut out = BytesMut::new();
        let mut values = serde_json::Deserializer::from_slice(json).into_iter::<Value>();
        let mut none = true;
        while let Some(value) = values.next().transpose().map_err(JsonError::Syntax)? {
            none = false;
            put_frame(&self.message(value)?.encode_to_vec(), &mut out);
            if !self.streams_requests {
                break;
            }
        }
        if none && !self.streams_requests {
            put_frame(&[], &mut out);
        }
        Ok(out.freeze())
    }

    fn message(&self, value: Value) -> Result<DynamicMessage, JsonError> {
        let options = prost_reflect::DeserializeOptions::new().deny_unknown_fields(false);
        DynamicMessage::deserialize_with_options(self.input.clone(), value, &options)
            .map_err(|source| JsonError::Shape { what: self.input.full_name().to_owned(), source })
    }

    /// A message of a response as JSON.
    pub(super) fn response(&self, message: Bytes) -> Result<Vec<u8>, String> {
        let message =
            DynamicMessage::decode(self.output.clone(), message).map_err(|error| error.to_string())?;
        let mut json = Vec::new();
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
        message
            .serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)
            .map_err(|error| error.to_string())?;
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes::paths;
    use super::*;

    #[test]
    fn every_route_has_a_method() {
        let known = Methods::load();
        for method in paths() {
            assert!(known.get(method).is_some(), "{method}");
        }
    }

    #[test]
    fn json_is_proto3_json() {
        let put = Methods::load().get("/etcdserverpb.KV/Range").unwrap();
        let json = br#"{"key":"Zm9v","limit":"12","sort_order":"DESCEND","keysOnly":true,"unknown":1}"#;
        let frame = put.request(json).unwrap();
        let request =
            mainstay_proto_wire::etcd::etcdserverpb::RangeRequest::decode(frame.slice(5..)).unwrap();
        assert_eq!(
            (&request.key[..], request.limit, request.sort_order, request.keys_only),
            (&b"foo"[..], 12, 2, true)
        );
        assert!(put.request(br#"{"key":"Zm9v""#).is_err());
        assert!(put.request(br#"{"key":7}"#).is_err());
        let response =
            mainstay_proto_wire::etcd::etcdserverpb::RangeResponse { count: 1 << 60, ..Default::default() };
        let json = put.response(response.encode_to_vec().into()).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), r#"{"count":"1152921504606846976"}"#);
    }
}
