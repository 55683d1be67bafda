//! The protobuf form of the OpenAPI v2 document that client-go asks for (gnostic's `openapi.v2.Document`). Field
//! numbers are gnostic's. All fields that our documents have are listed (a test finds any that is not), and those of schemas
//! and operations that other servers' documents usually have.

use crate::protobuf::wire::{close, open, put_bytes, put_int};
use crate::value::{Map, Value};

/// How a JSON value becomes a field.
enum Form {
    Text,
    Flag,
    Count,
    /// A JSON array: the field is repeated.
    Each(&'static Form),
    /// Any JSON, as text.
    Any,
    Message(&'static Message),
    /// A message with one field of this number.
    Nest(u32, &'static Form),
    /// A JSON object: a message whose field of this number is repeated, each a name and a value.
    Named(u32, &'static Form),
    /// A parameter: its message depends on where it stands.
    Parameter,
    /// A string or an array of strings in a message of its own.
    Texts,
}

/// A message: fields by JSON key, and the number under which `x-` members go.
struct Message {
    fields: &'static [(&'static str, u32, Form)],
    extensions: u32,
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Form::Text),
        ("info", 2, Form::Message(&INFO)),
        ("paths", 8, Form::Named(2, &Form::Message(&PATH_ITEM))),
        ("definitions", 9, Form::Named(1, &SCHEMA_FORM)),
        ("security", 12, Form::Each(&Form::Named(1, &Form::Texts))),
        ("securityDefinitions", 13, Form::Named(1, &Form::Nest(2, &Form::Message(&API_KEY)))),
    ],
    extensions: 16,
};

static INFO: Message =
    Message { fields: &[("title", 1, Form::Text), ("version", 2, Form::Text)], extensions: 7 };

static API_KEY: Message = Message {
    fields: &[("type", 1, Form::Text), ("name", 2, Form::Text), ("in", 3, Form::Text)],
    extensions: 5,
};

static SCHEMA_FORM: Form = Form::Message(&SCHEMA);

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("title", 3, Form::Text),
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("maxLength", 11, Form::Count),
        ("minLength", 12, Form::Count),
        ("pattern", 13, Form::Text),
        ("maxItems", 14, Form::Count),
        ("minItems", 15, Form::Count),
        ("uniqueItems", 16, Form::Flag),
        ("maxProperties", 17, Form::Count),
        ("minProperties", 18, Form::Count),
        ("required", 19, Form::Each(&Form::Text)),
        ("enum", 20, Form::Each(&Form::Any)),
        ("additionalProperties", 21, Form::Nest(1, &SCHEMA_FORM)),
        ("type", 22, Form::Texts),
        ("items", 23, Form::Nest(1, &SCHEMA_FORM)),
        ("allOf", 24, Form::Each(&SCHEMA_FORM)),
        ("properties", 25, Form::Named(1, &SCHEMA_FORM)),
        ("readOnly", 27, Form::Flag),
    ],
    extensions: 31,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Form::Message(&OPERATION)),
        ("put", 3, Form::Message(&OPERATION)),
        ("post", 4, Form::Message(&OPERATION)),
        ("delete", 5, Form::Message(&OPERATION)),
        ("patch", 8, Form::Message(&OPERATION)),
        ("parameters", 9, Form::Each(&Form::Parameter)),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Form::Each(&Form::Text)),
        ("summary", 2, Form::Text),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("produces", 6, Form::Each(&Form::Text)),
        ("consumes", 7, Form::Each(&Form::Text)),
        ("parameters", 8, Form::Each(&Form::Parameter)),
        ("responses", 9, Form::Named(1, &Form::Nest(1, &Form::Message(&RESPONSE)))),
        ("schemes", 10, Form::Each(&Form::Text)),
        ("deprecated", 11, Form::Flag),
    ],
    extensions: 13,
};

static RESPONSE: Message = Message {
    fields: &[("description", 1, Form::Text), ("schema", 2, Form::Nest(1, &SCHEMA_FORM))],
    extensions: 5,
};

static BODY: Message = Message {
    fields: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Flag),
        ("schema", 5, Form::Message(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 6, Form::Text),
        ("uniqueItems", 20, Form::Flag),
    ],
    extensions: 23,
};

static PATH: Message = Message {
    fields: &[
        ("required", 1, Form::Flag),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("uniqueItems", 19, Form::Flag),
    ],
    extensions: 22,
};

static BODY_PARAMETER: Form = Form::Nest(1, &Form::Message(&BODY));
static QUERY_PARAMETER: Form = Form::Nest(2, &Form::Nest(3, &Form::Message(&QUERY)));
static PATH_PARAMETER: Form = Form::Nest(2, &Form::Nest(4, &Form::Message(&PATH)));

/// The document as protobuf.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if let Value::Map(map) = document {
        put_members(map, &DOCUMENT, &mut out);
    }
    out
}

fn put_members(map: &Map, message: &Message, out: &mut Vec<u8>) {
    for (key, number, form) in message.fields {
        if let Some(value) = map.get(key) {
            put(value, *number, form, out);
        }
    }
    for (key, value) in map.iter().filter(|(key, _)| key.starts_with("x-")) {
        put_named(key, value, message.extensions, &Form::Any, out);
    }
}

fn put(value: &Value, number: u32, form: &Form, out: &mut Vec<u8>) {
    match form {
        Form::Text => put_bytes(number, value.as_str().unwrap_or_default().as_bytes(), out),
        Form::Flag => put_int(number, i64::from(value.as_bool().unwrap_or_default()), out),
        Form::Count => put_int(number, value.as_i64().unwrap_or_default(), out),
        Form::Each(item) => {
            value.as_list().unwrap_or_default().iter().for_each(|v| put(v, number, item, out));
        }
        Form::Any => within(number, out, |out| put_bytes(2, crate::json::to_string(value).as_bytes(), out)),
        Form::Message(message) => within(number, out, |out| {
            if let Value::Map(map) = value {
                put_members(map, message, out);
            }
        }),
        Form::Nest(inner, form) => within(number, out, |out| put(value, *inner, form, out)),
        Form::Named(inner, form) => within(number, out, |out| {
            for (key, value) in value.as_map().into_iter().flatten() {
                put_named(key, value, *inner, form, out);
            }
        }),
        Form::Texts => within(number, out, |out| match value {
            Value::List(items) => items.iter().for_each(|item| put(item, 1, &Form::Text, out)),
            one => put(one, 1, &Form::Text, out),
        }),
        // A parameter (not a reference to one), then body or not, then query or path.
        Form::Parameter => within(number, out, |out| match value.path_str(&["in"]) {
            Some("body") => put(value, 1, &BODY_PARAMETER, out),
            Some("path") => put(value, 1, &PATH_PARAMETER, out),
            _ => put(value, 1, &QUERY_PARAMETER, out),
        }),
    }
}

fn put_named(name: &str, value: &Value, number: u32, form: &Form, out: &mut Vec<u8>) {
    within(number, out, |out| {
        put_bytes(1, name.as_bytes(), out);
        put(value, 2, form, out);
    });
}

fn within(number: u32, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = open(number, out);
    body(out);
    close(start, out);
}

#[cfg(test)]
pub(super) mod coverage {
    //! Whether every member of a document has a field.

    use super::{BODY, DOCUMENT, Form, Message, PATH, QUERY};
    use crate::value::{Map, Value};

    /// Keys that no message has.
    pub(in super::super) fn lost(document: &Value) -> Vec<String> {
        let mut lost = Vec::new();
        if let Value::Map(map) = document {
            members(map, &DOCUMENT, &mut lost);
        }
        lost.sort();
        lost.dedup();
        lost
    }

    fn members(map: &Map, message: &Message, lost: &mut Vec<String>) {
        for (key, value) in map.iter().filter(|(key, _)| !key.starts_with("x-")) {
            match message.fields.iter().find(|(name, ..)| name == key) {
                Some((.., form)) => walk(value, form, lost),
                None => lost.push(key.to_string()),
            }
        }
    }

    fn walk(value: &Value, form: &Form, lost: &mut Vec<String>) {
        match (form, value) {
            (Form::Message(message), Value::Map(map)) => members(map, message, lost),
            (Form::Nest(_, form), value) => walk(value, form, lost),
            (Form::Each(form), Value::List(items)) => items.iter().for_each(|v| walk(v, form, lost)),
            (Form::Named(_, form), Value::Map(map)) => map.values().for_each(|v| walk(v, form, lost)),
            (Form::Parameter, Value::Map(map)) => {
                let message = match value.path_str(&["in"]) {
                    Some("body") => &BODY,
                    Some("path") => &PATH,
                    _ => &QUERY,
                };
                members(map, message, lost);
            }
            (Form::Text, Value::Str(_))
            | (Form::Flag, Value::Bool(_))
            | (Form::Count, Value::Int(_))
            | (Form::Any, _)
            | (Form::Texts, Value::Str(_) | Value::List(_)) => {}
            (_, other) => lost.push(format!("{} of an unexpected shape", other.json_kind())),
        }
    }
}
