//! The documents as a whole.

use super::{definitions, gnostic, merge, paths};
use crate::json;
use crate::kind::Kind;
use crate::value;
use crate::value::Value;

/// The version that the documents tell.
const VERSION: &str = "v1.37.0";

/// Which OpenAPI a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    /// The reference to a definition.
    pub(super) fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// The media type of [`v2_protobuf`] as answers name it; requests also write `@v1.0` for `.v1.0`.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The OpenAPI v2 document (`/openapi/v2`) of these kinds, with the parts of other servers ([`part_below`](super::part_below)),
/// as JSON.
pub fn v2(kinds: &[&'static Kind], parts: &[&Value]) -> Vec<u8> {
    bytes(&v2_merged(kinds, parts))
}

/// The same in gnostic's protobuf form.
pub fn v2_protobuf(kinds: &[&'static Kind], parts: &[&Value]) -> Vec<u8> {
    gnostic::encode(&v2_merged(kinds, parts))
}

fn v2_merged(kinds: &[&'static Kind], parts: &[&Value]) -> Value {
    let mut document = v2_document(kinds);
    for part in parts {
        merge::add(&mut document, part);
    }
    document
}

pub(super) fn v2_document(kinds: &[&'static Kind]) -> Value {
    value!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths::all(kinds, Dialect::V2),
        "definitions": definitions::all(kinds, Dialect::V2),
        "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        "security": [{"BearerToken": []}],
    })
}

/// The OpenAPI v3 document (`/openapi/v3/<path>`) of the kinds of one group version, as JSON.
pub fn v3(kinds: &[&'static Kind]) -> Vec<u8> {
    let document = value!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths::all(kinds, Dialect::V3),
        "components": {
            "schemas": definitions::all(kinds, Dialect::V3),
            "securitySchemes": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        },
        "security": [{"BearerToken": []}],
    });
    bytes(&document)
}

fn bytes(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    json::encode(document, &mut out);
    out
}
