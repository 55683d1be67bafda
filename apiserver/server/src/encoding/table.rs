//! `meta.k8s.io/v1` tables, written straight to JSON.

use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::{Map, Value};

use super::{IncludeObject, ObjectEncoder};
use crate::cache::Cached;
use crate::failure::Failure;

/// A table of one row, as a GET or a watch event shows an object.
pub(super) fn single(
    encoder: &ObjectEncoder,
    include: IncludeObject,
    object: &Cached,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    out.extend_from_slice(
        br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":""#,
    );
    out.extend_from_slice(object.header.revision.to_string().as_bytes());
    out.extend_from_slice(br#""},"columnDefinitions":"#);
    columns(encoder.kind, out);
    out.extend_from_slice(br#","rows":["#);
    row(encoder, include, object, out)?;
    out.extend_from_slice(b"]}");
    Ok(())
}

/// The `columnDefinitions` array.
pub(super) fn columns(kind: &Kind, out: &mut Vec<u8>) {
    let list: Vec<Value> = kind
        .rules
        .columns()
        .iter()
        .map(|column| {
            Value::Map(Map::from_iter([
                ("name", Value::from(column.name)),
                ("type", Value::from(column.column_type)),
                ("format", Value::from(column.format)),
                ("description", Value::from(column.description)),
                ("priority", Value::from(column.priority)),
            ]))
        })
        .collect();
    json::encode(&Value::List(list), out);
}

/// One row.
pub(super) fn row(
    encoder: &ObjectEncoder,
    include: IncludeObject,
    object: &Cached,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let tree = object.decode_served(encoder.kind)?;
    let cells = Value::List(encoder.kind.rules.row(&tree, encoder.now));
    out.extend_from_slice(br#"{"cells":"#);
    json::encode(&cells, out);
    out.extend_from_slice(br#","object":"#);
    encoder.row_object(include, object, out)?;
    out.push(b'}');
    Ok(())
}
