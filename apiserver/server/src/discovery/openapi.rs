//! `/openapi/v2`, `/openapi/v3` and its documents per group version. Made when first asked for, kept compressed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderMap, StatusCode};
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::openapi;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use parking_lot::Mutex;

use super::documents::{content_hash, content_tag};
use crate::aggregation::RemoteVersion;
use crate::encoding::{gzip_wanted, raw_response};
use crate::request::RequestContext;
use crate::types::{Response, empty_body, full_body};

/// How the media type of OpenAPI v2's protobuf form begins, in all its spellings.
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2";

/// The OpenAPI documents.
pub(super) struct OpenApi {
    kinds: Vec<&'static Kind>,
    v2: OnceLock<Compressed>,
    v2_protobuf: OnceLock<Compressed>,
    v3: BTreeMap<String, Arc<OnceLock<Compressed>>>,
    /// Entries of the index that lead to other servers.
    remote: Vec<(String, Value)>,
    /// Where the parts of other servers in the v2 document come from.
    remotes: Vec<Arc<RemoteVersion>>,
}

/// A document as it is kept.
struct Compressed {
    gzip: Bytes,
    hash: String,
    etag: HeaderValue,
    /// Unpacked for those who do not take gzip: one copy for all who read it now, none when nobody does.
    plain: Mutex<Weak<Vec<u8>>>,
}

impl Compressed {
    fn new(document: &[u8]) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // Writing to a Vec cannot fail.
        drop(encoder.write_all(document));
        Self {
            gzip: encoder.finish().unwrap_or_default().into(),
            hash: content_hash(document),
            etag: content_tag(document),
            plain: Mutex::default(),
        }
    }

    /// The document as it was before compression.
    fn plain(&self) -> std::io::Result<Bytes> {
        let mut shared = self.plain.lock();
        let document = if let Some(document) = shared.upgrade() {
            document
        } else {
            let mut plain = Vec::with_capacity(self.gzip.len() * 8);
            GzDecoder::new(&self.gzip[..]).read_to_end(&mut plain)?;
            let document = Arc::new(plain);
            *shared = Arc::downgrade(&document);
            document
        };
        Ok(Bytes::from_owner(Shared(document)))
    }
}

/// Lets [`Bytes`] hold a document that others read too.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl OpenApi {
    /// Documents about `kinds`. Those of groups without custom kinds are taken over from an older edition.
    pub(super) fn new(kinds: &[&'static Kind], remotes: &[Arc<RemoteVersion>], older: Option<&Self>) -> Self {
        let changing: BTreeSet<String> =
            kinds.iter().filter(|kind| kind.is_custom).map(|kind| path_of(kind)).collect();
        let v3 = kinds
            .iter()
            .map(|kind| path_of(kind))
            .map(|path| {
                let kept = older.and_then(|older| older.v3.get(&path)).filter(|_| !changing.contains(&path));
                let document = kept.map(Arc::clone).unwrap_or_default();
                (path, document)
            })
            .collect();
        let remote = remotes
            .iter()
            .filter(|remote| !remote.openapi.is_null())
            .map(|remote| (format!("apis/{}/{}", remote.group, remote.version), remote.openapi.clone()))
            .collect();
        let (kinds, remotes) = (kinds.to_vec(), remotes.to_vec());
        Self { kinds, v2: OnceLock::new(), v2_protobuf: OnceLock::new(), v3, remote, remotes }
    }

    /// The answer to what follows `/openapi/`.
    pub(super) fn answer(&self, rest: &[&str], context: &RequestContext) -> Option<Result<Response, Status>> {
        match rest {
            ["v2"] => Some(Ok(self.v2(context))),
            ["v3"] => Some(Ok(self.index(context))),
            ["v3", path @ ..] => {
                let path = path.join("/");
                let document = self.v3.get(&path)?.get_or_init(|| self.make_v3(&path));
                Some(Ok(v3_response(document, &path, context)))
            }
            _ => None,
        }
    }

    fn v2(&self, context: &RequestContext) -> Response {
        let accept = context.headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
        if accept.trim_start().starts_with(V2_PROTOBUF) {
            let make = || Compressed::new(&openapi::v2_protobuf(&self.kinds, &self.parts()));
            let document = self.v2_protobuf.get_or_init(make);
            return respond(document, &context.headers, openapi::V2_PROTOBUF);
        }
        let document = self.v2.get_or_init(|| Compressed::new(&openapi::v2(&self.kinds, &self.parts())));
        respond(document, &context.headers, "application/json")
    }

    /// What other servers add to the v2 document.
    fn parts(&self) -> Vec<&Value> {
        self.remotes
            .iter()
            .filter_map(|remote| remote.openapi_v2.as_ref())
            .map(|part| &part.document)
            .collect()
    }

    fn make_v3(&self, path: &str) -> Compressed {
        let kinds: Vec<&'static Kind> =
            self.kinds.iter().copied().filter(|kind| path_of(kind) == path).collect();
        Compressed::new(&openapi::v3(&kinds))
    }

    fn index(&self, context: &RequestContext) -> Response {
        let mut paths = Value::map();
        for (path, document) in &self.v3 {
            let document = document.get_or_init(|| self.make_v3(path));
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            paths.set_path(&[path, "serverRelativeURL"], url);
        }
        for (path, entry) in &self.remote {
            paths.set_path(&[path], entry.clone());
        }
        let mut out = Value::map();
        out.set_path(&["paths"], paths);
        let mut bytes = Vec::new();
        json::encode(&out, &mut bytes);
        raw_response(
            &context.headers,
            HeaderValue::from_static("application/json"),
            bytes.into(),
            StatusCode::OK,
        )
    }
}

/// `api/v1`, `apis/apps/v1`.
fn path_of(kind: &Kind) -> String {
    if kind.group.is_empty() {
        format!("api/{}", kind.version)
    } else {
        format!("apis/{}/{}", kind.group, kind.version)
    }
}

/// A document under its hash never changes; one under an old hash is a redirect to the new one.
fn v3_response(document: &Compressed, path: &str, context: &RequestContext) -> Response {
    let asked = context.query.non_empty("hash");
    if asked.is_some_and(|hash| hash != document.hash) {
        let mut response = http::Response::new(empty_body());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        if let Ok(location) = HeaderValue::from_str(&format!("/openapi/v3/{path}?hash={}", document.hash)) {
            response.headers_mut().insert(LOCATION, location);
        }
        return response;
    }
    let mut response = respond(document, &context.headers, "application/json");
    if asked.is_some() {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    response
}

fn respond(document: &Compressed, headers: &HeaderMap, content_type: &'static str) -> Response {
    if headers.get(IF_NONE_MATCH).is_some_and(|tag| *tag == document.etag) {
        let mut response = http::Response::new(empty_body());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let mut response = if gzip_wanted(headers) {
        let mut response = http::Response::new(full_body(document.gzip.clone()));
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        match document.plain() {
            Ok(plain) => http::Response::new(full_body(plain)),
            // Our own bytes, compressed in this process.
            Err(error) => {
                tracing::error!(%error, "a kept document cannot be read");
                http::Response::new(empty_body())
            }
        }
    };
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    out.insert(ETAG, document.etag.clone());
    out.append(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    response
}
