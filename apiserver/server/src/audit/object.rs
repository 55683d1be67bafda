//! Bodies as the JSON that events hold: one line, whatever format the client spoke. Pure.
//!
//! A body that cannot be read is left out of the event; the request is answered all the same.

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::schema::{self, Type};
use mainstay_apiserver_machinery::value::Value;
use mainstay_apiserver_machinery::{json, protobuf, yaml};
use serde_json::value::RawValue;

use super::event::ObjectReference;
use crate::registry::ServedKinds;

/// A body with its content type.
pub(super) struct Told<'a> {
    /// The header's value.
    pub(super) content_type: &'a str,
    /// The whole body.
    pub(super) bytes: &'a [u8],
    /// Whether managed fields are left out.
    pub(super) omit_managed_fields: bool,
}

impl Told<'_> {
    /// The body as JSON of one line; none for what is no object.
    pub(super) fn json(&self, kinds: &ServedKinds) -> Option<Box<RawValue>> {
        if self.bytes.is_empty() {
            return None;
        }
        let media = self.content_type.split(';').next().unwrap_or_default().trim();
        if !self.omit_managed_fields && media.ends_with("json") && !self.bytes.contains(&b'\n') {
            let text = std::str::from_utf8(self.bytes).ok()?;
            return RawValue::from_string(text.to_owned()).ok();
        }
        let mut tree = if media == "application/vnd.kubernetes.protobuf" {
            of_protobuf(self.bytes, kinds)?
        } else if media.ends_with("yaml") {
            yaml::decode(self.bytes, None, json::Strictness::Ignore).ok()?.value
        } else {
            // Bodies without a content type are JSON.
            json::decode_free(self.bytes).ok()?
        };
        if self.omit_managed_fields {
            without_managed_fields(&mut tree);
        }
        RawValue::from_string(json::to_string(&tree)).ok()
    }
}

fn of_protobuf(bytes: &[u8], kinds: &ServedKinds) -> Option<Value> {
    let envelope = protobuf::envelope::unwrap(bytes).ok()?;
    let (api_version, kind) = (envelope.api_version.to_owned(), envelope.kind.to_owned());
    let mut tree = protobuf::decode(envelope.raw, schema_of(&api_version, &kind, kinds)?).ok()?;
    if let Value::Map(map) = &mut tree {
        map.insert("kind", kind);
        map.insert("apiVersion", api_version);
    }
    Some(tree)
}

fn schema_of(api_version: &str, kind: &str, kinds: &ServedKinds) -> Option<&'static Type> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if let Some(found) = kinds.find_kind(group, version, kind) {
        return Some(Kind::schema(found));
    }
    let item = kind.strip_suffix("List").and_then(|item| kinds.find_kind(group, version, item));
    let name = match item {
        // A list's type stands beside that of its items.
        Some(item) => format!("{}List", item.schema().name),
        None => format!("meta/v1.{kind}"),
    };
    schema::lookup(&name)
}

fn without_managed_fields(tree: &mut Value) {
    let drop_of = |object: &mut Value| {
        if let Some(Value::Map(meta)) = object.get_mut("metadata") {
            meta.remove("managedFields");
        }
    };
    drop_of(tree);
    if let Some(Value::List(items)) = tree.get_mut("items") {
        items.iter_mut().for_each(drop_of);
    }
    if let Some(Value::List(rows)) = tree.get_mut("rows") {
        rows.iter_mut().filter_map(|row| row.get_mut("object")).for_each(drop_of);
    }
}

/// Fills what the path leaves open from the object that was sent.
pub(super) fn complete(reference: &mut ObjectReference, object: &RawValue) {
    #[derive(serde::Deserialize)]
    struct Sent {
        #[serde(default)]
        metadata: Metadata,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Metadata {
        name: String,
        namespace: String,
        uid: String,
        resource_version: String,
    }
    // What is no object has no metadata.
    let Ok(Sent { metadata }) = serde_json::from_str(object.get()) else { return };
    let fill = |field: &mut smol_str::SmolStr, value: String| {
        if field.is_empty() {
            *field = value.into();
        }
    };
    fill(&mut reference.name, metadata.name);
    fill(&mut reference.namespace, metadata.namespace);
    fill(&mut reference.uid, metadata.uid);
    fill(&mut reference.resource_version, metadata.resource_version);
}
