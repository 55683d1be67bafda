//! Bodies into objects, objects into responses.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, StatusCode};
use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::schema::Type;
use mainstay_apiserver_machinery::value::{self, Value};
use mainstay_apiserver_machinery::{protobuf, yaml};
use mainstay_proto_api::Status;

use super::{Query, RequestContext};
use crate::encoding::{self, Accepted, Allow, Media, View};
use crate::failure::to_status;
use crate::types::{Response, full_body};

/// An object out of a request body.
#[derive(Debug, Clone)]
pub struct DecodedObject {
    /// The object.
    pub object: Value,
    /// Sentences for `Warning` headers: unknown and duplicate fields.
    pub warnings: Vec<String>,
}

/// How strictly a body is read.
///
/// # Errors
/// 422 for unknown values of `fieldValidation`.
pub fn strictness(query: &Query, options_kind: &str) -> Result<Strictness, Status> {
    match query.get("fieldValidation").unwrap_or_default() {
        "" | "Warn" => Ok(Strictness::Warn),
        "Ignore" => Ok(Strictness::Ignore),
        "Strict" => Ok(Strictness::Strict),
        other => {
            let mut errors = mainstay_apiserver_machinery::validation::ErrorList::new();
            let path = mainstay_apiserver_machinery::validation::Path::new("fieldValidation");
            errors.not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]);
            Err(errors
                .into_status("meta.k8s.io", options_kind, "")
                .unwrap_or_else(|| Status::bad_request("invalid fieldValidation")))
        }
    }
}

/// Decodes a body in any format the server reads, as an object of `schema`.
///
/// # Errors
/// 415 for other formats; 400 for bodies that cannot be read, or strictly could not.
pub fn decode_object(
    headers: &HeaderMap,
    body: &[u8],
    schema: &'static Type,
    shown: (&str, &str),
    strictness: Strictness,
) -> Result<DecodedObject, Status> {
    let media = Media::of_body(headers.get(CONTENT_TYPE).map(|v| v.to_str().unwrap_or("invalid")))?;
    if schema.is_open && media == Media::Protobuf {
        return Err(Status::unsupported_media_type(&[Media::Json, Media::Yaml].map(Media::content_type)));
    }
    decode_media(media, body, schema, strictness).map_err(|fault| fault.status(body, shown))
}

/// The options of a write as admission sees them.
pub fn options_tree(query: &Query, kind: &str, dry_run: bool) -> Value {
    let mut tree = Value::map();
    tree.set_path(&["kind"], kind);
    tree.set_path(&["apiVersion"], "meta.k8s.io/v1");
    if dry_run {
        tree.set_path(&["dryRun"], Value::from(["All"]));
    }
    for name in ["fieldManager", "fieldValidation"] {
        if let Some(text) = query.non_empty(name) {
            tree.set_path(&[name], text);
        }
    }
    tree
}

/// Decodes options in a body. Upstream answers what is wrong with them as it stands.
///
/// # Errors
/// 415 for other formats; 500 for bodies that cannot be read.
pub fn decode_options(headers: &HeaderMap, body: &[u8], schema: &'static Type) -> Result<Value, Status> {
    let media = Media::of_body(headers.get(CONTENT_TYPE).map(|v| v.to_str().unwrap_or("invalid")))?;
    let decoded = decode_media(media, body, schema, Strictness::Ignore);
    decoded.map(|decoded| decoded.object).map_err(|fault| {
        let (Fault::Untyped(why) | Fault::Typed(why)) = fault;
        Status::failure(500, "", why)
    })
}

/// What keeps a body from being an object.
enum Fault {
    /// Not even its type can be told.
    Untyped(String),
    /// It does not fit its type.
    Typed(String),
}

impl Fault {
    /// 400 with upstream's words for an object of that version and kind.
    fn status(self, body: &[u8], (version, kind): (&str, &str)) -> Status {
        match self {
            Self::Untyped(why) => unrecognized(kind, body, &why),
            Self::Typed(why) => Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
            )),
        }
    }
}

/// Decodes a body as an object of `kind`: as [`decode_object`], and what a custom kind's schema does not know is
/// dropped too.
///
/// # Errors
/// As [`decode_object`].
pub fn decode_kind(
    headers: &HeaderMap,
    body: &[u8],
    kind: &'static Kind,
    strictness: Strictness,
) -> Result<DecodedObject, Status> {
    if !kind.is_custom {
        return decode_object(headers, body, kind.schema(), shown_type(kind), strictness);
    }
    // What decoding finds is told together with what pruning finds.
    let lenient = if strictness == Strictness::Strict { Strictness::Warn } else { strictness };
    let mut decoded = decode_object(headers, body, kind.schema(), shown_type(kind), lenient)?;
    match prune_unknown(kind, &mut decoded, strictness) {
        Ok(()) => Ok(decoded),
        Err(reason) => Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {reason}",
            kind.kind, kind.version, kind.kind
        ))),
    }
}

/// Drops what the kind's own schema does not know, and tells it as `strictness` says.
///
/// # Errors
/// What was unknown or duplicate, if strictness was asked for.
pub fn prune_unknown(
    kind: &'static Kind,
    decoded: &mut DecodedObject,
    strictness: Strictness,
) -> Result<(), json::DecodeError> {
    let mut unknown = Vec::new();
    kind.rules.prune(&mut decoded.object, &mut unknown);
    match strictness {
        Strictness::Ignore => {}
        Strictness::Warn => decoded.warnings.extend(unknown),
        Strictness::Strict => {
            let mut all = std::mem::take(&mut decoded.warnings);
            all.extend(unknown);
            if !all.is_empty() {
                return Err(json::DecodeError::Strict(all));
            }
        }
    }
    Ok(())
}

fn decode_media(
    media: Media,
    body: &[u8],
    schema: &'static Type,
    strictness: Strictness,
) -> Result<DecodedObject, Fault> {
    let undecodable = |error: json::DecodeError| match untyped(&error, body) {
        Some(why) if media == Media::Json => {
            Fault::Untyped(format!("couldn't get version/kind; json parse error: {why}"))
        }
        Some(why) => Fault::Untyped(why),
        None => Fault::Typed(error.to_string()),
    };
    let decoded = match media {
        Media::Json => json::decode(body, Some(schema), strictness).map_err(undecodable)?,
        Media::Yaml => yaml::decode(body, Some(schema), strictness).map_err(undecodable)?,
        Media::Protobuf => {
            let envelope =
                protobuf::envelope::unwrap(body).map_err(|error| Fault::Untyped(error.to_string()))?;
            let mut object =
                protobuf::decode(envelope.raw, schema).map_err(|error| Fault::Typed(error.to_string()))?;
            for (name, text) in [("apiVersion", envelope.api_version), ("kind", envelope.kind)] {
                if !text.is_empty() {
                    object.set_path(&[name], text);
                }
            }
            return Ok(DecodedObject { object, warnings: Vec::new() });
        }
    };
    Ok(DecodedObject { object: decoded.value, warnings: decoded.warnings })
}

/// What keeps a body from being an object of any type; nothing where only its own type is at fault.
fn untyped(error: &json::DecodeError, body: &[u8]) -> Option<String> {
    use json::DecodeError;
    if body.is_empty() {
        return Some("unexpected end of JSON input".to_owned());
    }
    match error {
        DecodeError::NotUtf8 { .. } | DecodeError::Syntax(_) | DecodeError::TooDeep => {
            Some(error.to_string())
        }
        // Upstream looks for the type first, by reading the body into a type of its own.
        DecodeError::Type { got, place, .. } if place == "Go value" => {
            let go_type = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
            Some(format!("json: cannot unmarshal {got} into Go value of type {go_type}"))
        }
        _ => None,
    }
}

/// 400 for a body of which not even the type can be told, with the beginning of it.
fn unrecognized(kind: &str, body: &[u8], why: &str) -> Status {
    const SHOWN_BYTES: usize = 30;
    let start = body.get(..SHOWN_BYTES).unwrap_or(body);
    let mut shown = match start.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            write!(hex, "{byte:02x}").ok();
            hex
        }),
    };
    if body.len() > SHOWN_BYTES {
        shown.push_str(" ...");
    }
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({shown})"
    ))
}

/// Answers with an object that is not in the cache: a review, a token, a Scale. `type_name` names its schema.
///
/// # Errors
/// 406 when the client reads no format of ours.
pub fn respond_object(
    context: &RequestContext,
    object: &Value,
    schema: Option<&'static Type>,
    code: StatusCode,
) -> Result<Response, Status> {
    let header = context.headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok());
    let accepted = encoding::accept(header, &context.query, Allow::PLAIN)?;
    encoding::value_response(&context.headers, accepted, object, schema, code)
        .map_err(|failure| to_status(context.kind, &failure))
}

/// Answers with a Status, in the client's format where that is possible and as JSON otherwise. Cannot fail.
pub fn respond_status(headers: &HeaderMap, query: &Query, status: &Status) -> Response {
    let header = headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok());
    let accepted = encoding::accept(header, query, Allow::PLAIN).unwrap_or(Accepted {
        media: Media::Json,
        view: View::Object,
        pretty: false,
    });
    let code = StatusCode::from_u16(if status.code == 0 { 200 } else { status.code })
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let schema = mainstay_apiserver_machinery::schema::lookup("meta/v1.Status");
    let mut response = value::to_value(status)
        .ok()
        .and_then(|tree| encoding::value_response(headers, accepted, &tree, schema, code).ok())
        .unwrap_or_else(|| plain_status(status, code));
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The last resort: serde writes a Status without the schema.
fn plain_status(status: &Status, code: StatusCode) -> Response {
    let bytes = serde_json::to_vec(status).unwrap_or_default();
    let mut response = http::Response::new(full_body(Bytes::from(bytes)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The (version, kind) that error texts about a body of `kind` name.
pub fn shown_type(kind: &'static Kind) -> (&'static str, &'static str) {
    (kind.version, kind.kind)
}
