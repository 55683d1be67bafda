//! Responses out of encoded bytes: headers, compression, formats of values that are not cached objects.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use mainstay_apiserver_machinery::schema::Type;
use mainstay_apiserver_machinery::value::Value;
use mainstay_apiserver_machinery::{json, protobuf};

use super::gzip::{Gzip, THRESHOLD_BYTES, compress, gzip_wanted};
use super::list::{ListChunks, envelope_head};
use super::object::ObjectEncoder;
use super::{Accepted, Media};
use crate::cache::Cached;
use crate::failure::Failure;
use crate::types::{BodyError, Response, full_body};

/// One cached object.
///
/// # Errors
/// Stored bytes that cannot be decoded.
pub fn object_response(
    headers: &HeaderMap,
    accepted: Accepted,
    encoder: &ObjectEncoder,
    object: &Cached,
    code: StatusCode,
) -> Result<Response, Failure> {
    if accepted.media == Media::Protobuf {
        let shown = encoder.shown();
        let message = encoder.message(object)?;
        let mut out = envelope_head(&shown.api_version, shown.kind, message.len());
        message.append_to(&mut out);
        return Ok(bytes_response(headers, accepted.media, out, code));
    }
    let mut out = Vec::with_capacity(object.raw.len() * 2 + 128);
    encoder.json(object, &mut out)?;
    text_response(headers, accepted, out, code)
}

/// A value that is not in the cache: a review, a Scale, a Status. `schema` is needed for protobuf only.
///
/// # Errors
/// A value that does not fit its type.
pub fn value_response(
    headers: &HeaderMap,
    accepted: Accepted,
    value: &Value,
    schema: Option<&'static Type>,
    code: StatusCode,
) -> Result<Response, Failure> {
    if accepted.media == Media::Protobuf
        && let Some(schema) = schema
    {
        let text = |name: &str| value.path_str(&[name]).unwrap_or_default();
        let mut message = Vec::new();
        protobuf::encode(value, schema, &mut message)
            .map_err(|error| Failure::Encode { kind: "value", reason: error.to_string() })?;
        let mut out = envelope_head(text("apiVersion"), text("kind"), message.len());
        out.extend_from_slice(&message);
        return Ok(bytes_response(headers, Media::Protobuf, out, code));
    }
    let mut out = Vec::with_capacity(512);
    json::encode(value, &mut out);
    let media = if accepted.media == Media::Protobuf { Media::Json } else { accepted.media };
    text_response(headers, Accepted { media, ..accepted }, out, code)
}

/// A list, streamed; short ones are sent with their length.
///
/// # Errors
/// Stored bytes that cannot be decoded, if the first chunks have them.
pub fn list_response(
    headers: &HeaderMap,
    accepted: Accepted,
    mut chunks: ListChunks,
) -> Result<Response, Failure> {
    if accepted.media == Media::Yaml || (accepted.pretty && accepted.media == Media::Json) {
        let mut all = Vec::new();
        while let Some(chunk) = chunks.next_chunk()? {
            all.extend_from_slice(&chunk);
        }
        return text_response(headers, accepted, all, StatusCode::OK);
    }
    let mut start = Vec::new();
    while let Some(chunk) = chunks.next_chunk()? {
        start.extend_from_slice(&chunk);
        if start.len() > THRESHOLD_BYTES {
            return Ok(stream_response(headers, accepted.media, start, chunks));
        }
    }
    Ok(bytes_response(headers, accepted.media, start, StatusCode::OK))
}

fn stream_response(headers: &HeaderMap, media: Media, start: Vec<u8>, rest: ListChunks) -> Response {
    let chunks = futures::stream::iter([Ok(Bytes::from(start))]).chain(rest);
    let mut response = if gzip_wanted(headers) {
        let mut response = http::Response::new(streamed(Gzip::new(chunks)));
        mark_compressed(response.headers_mut());
        response
    } else {
        http::Response::new(streamed(chunks))
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    response
}

fn streamed(chunks: impl Stream<Item = Result<Bytes, Failure>> + Send + 'static) -> crate::types::Body {
    let frames = chunks.map(|chunk| match chunk {
        Ok(bytes) => Ok(Frame::data(bytes)),
        Err(failure) => {
            tracing::error!(error = %failure, "a list ends early");
            Err(BodyError::Producer(failure.to_string()))
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// JSON bytes as the format the client reads.
fn text_response(
    headers: &HeaderMap,
    accepted: Accepted,
    mut out: Vec<u8>,
    code: StatusCode,
) -> Result<Response, Failure> {
    let failed = |reason: String| Failure::Encode { kind: "text", reason };
    if accepted.media == Media::Yaml {
        let value: serde_json::Value =
            serde_json::from_slice(&out).map_err(|error| failed(error.to_string()))?;
        out = serde_yaml_ng::to_string(&value).map_err(|error| failed(error.to_string()))?.into_bytes();
    } else if accepted.pretty {
        let value: serde_json::Value =
            serde_json::from_slice(&out).map_err(|error| failed(error.to_string()))?;
        out = serde_json::to_vec_pretty(&value).map_err(|error| failed(error.to_string()))?;
    }
    if accepted.media == Media::Json {
        out.push(b'\n');
    }
    Ok(bytes_response(headers, accepted.media, out, code))
}

fn bytes_response(headers: &HeaderMap, media: Media, out: Vec<u8>, code: StatusCode) -> Response {
    raw_response(headers, HeaderValue::from_static(media.content_type()), Bytes::from(out), code)
}

/// Bytes of any type, compressed when they are many and the client accepts it.
pub fn raw_response(
    headers: &HeaderMap,
    content_type: HeaderValue,
    bytes: Bytes,
    code: StatusCode,
) -> Response {
    let compressed =
        (bytes.len() > THRESHOLD_BYTES && gzip_wanted(headers)).then(|| compress(&bytes)).flatten();
    let mut response = if let Some(compressed) = compressed {
        let mut response = http::Response::new(full_body(compressed));
        mark_compressed(response.headers_mut());
        response
    } else {
        http::Response::new(full_body(bytes))
    };
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn mark_compressed(headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
}
