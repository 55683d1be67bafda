//! The documents, made when first asked for and kept; and which of them a request gets.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use sha2::{Digest, Sha256};

use super::openapi::OpenApi;
use super::plain::{Group, groups};
use super::{aggregated, plain};
use crate::aggregation::{RemoteVersion, Routes, Table};
use crate::encoding::{self, Allow, raw_response, value_response};
use crate::failure::to_status;
use crate::registry::{Kinds, ServedKinds};
use crate::request::RequestContext;
use crate::types::{Response, empty_body};

/// Discovery and OpenAPI documents of the kinds that are served at the moment of the question.
pub struct Documents {
    served: ServedKinds,
    aggregated: Routes,
    current: ArcSwap<Edition>,
}

impl Documents {
    /// Documents about `served`; nothing is made yet.
    pub fn new(served: ServedKinds, aggregated: Routes) -> Self {
        let first = Edition::new(&served.current(), &aggregated.current(), None);
        Self { served, aggregated, current: ArcSwap::from_pointee(first) }
    }

    /// The answer to a path, `None` for paths that are no document.
    pub fn answer(&self, path: &str, context: &RequestContext) -> Option<Result<Response, Status>> {
        self.edition().answer(path, context)
    }

    fn edition(&self) -> Arc<Edition> {
        let (kinds, remotes) = (self.served.current(), self.aggregated.current());
        let edition = self.current.load_full();
        if edition.generations == (kinds.generation, remotes.generation) {
            return edition;
        }
        // Two requests may both make the new one: nothing in it is made before it is asked for.
        let newer = Arc::new(Edition::new(&kinds, &remotes, Some(&edition)));
        self.current.store(Arc::clone(&newer));
        newer
    }
}

/// The documents about one set of kinds.
struct Edition {
    /// Those of the kinds and of the remote versions.
    generations: (u64, u64),
    remotes: Vec<Arc<RemoteVersion>>,
    kinds: Vec<&'static Kind>,
    groups: Vec<Group>,
    aggregated: OnceLock<HashMap<(bool, &'static str), Tagged>>,
    openapi: OpenApi,
}

/// A document and the tag of its content.
struct Tagged {
    bytes: Bytes,
    etag: HeaderValue,
}

/// Versions of aggregated discovery, newest first.
const AGGREGATED: [&str; 2] = ["v2", "v2beta1"];

impl Edition {
    fn new(kinds: &Kinds, remotes: &Table, older: Option<&Self>) -> Self {
        Self {
            generations: (kinds.generation, remotes.generation),
            groups: groups(kinds.all(), &remotes.versions),
            openapi: OpenApi::new(kinds.all(), &remotes.versions, older.map(|older| &older.openapi)),
            remotes: remotes.versions.clone(),
            kinds: kinds.all().to_vec(),
            aggregated: OnceLock::new(),
        }
    }

    fn answer(&self, path: &str, context: &RequestContext) -> Option<Result<Response, Status>> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            [""] => Some(Self::value(context, &self.root())),
            [root @ ("api" | "apis")] => {
                let core = *root == "api";
                if let Some(version) = aggregated_version(context) {
                    return Some(Ok(self.aggregated(context, core, version)));
                }
                let document =
                    if core { plain::api_versions(&self.groups) } else { plain::group_list(&self.groups) };
                Some(Self::value(context, &document))
            }
            ["api", version] => self.resources(context, "", version),
            ["apis", name] => {
                let group = self.groups.iter().find(|g| g.name == *name && !name.is_empty())?;
                Some(Self::value(context, &plain::group(group)))
            }
            ["apis", group, version] if !group.is_empty() => self.resources(context, group, version),
            ["openapi", rest @ ..] => self.openapi.answer(rest, context),
            _ => None,
        }
    }

    fn resources(
        &self,
        context: &RequestContext,
        group: &str,
        version: &str,
    ) -> Option<Result<Response, Status>> {
        let known = self.groups.iter().any(|g| g.name == group && g.versions.contains(&version));
        known.then(|| Self::value(context, &plain::resources(&self.kinds, group, version)))
    }

    fn root(&self) -> Value {
        let mut paths: Vec<String> = ["/api", "/api/v1", "/apis"].map(str::to_owned).to_vec();
        for group in self.groups.iter().filter(|g| !g.name.is_empty()) {
            paths.push(format!("/apis/{}", group.name));
            paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{version}", group.name)));
        }
        let rest = ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
        paths.extend(rest.map(str::to_owned));
        let mut out = Value::map();
        out.set_path(&["paths"], Value::from(paths));
        out
    }

    fn value(context: &RequestContext, value: &Value) -> Result<Response, Status> {
        let header = context.headers.get(ACCEPT).and_then(|v| v.to_str().ok());
        // Protobuf discovery is not written: clients that list it list JSON too.
        let accepted = encoding::accept(header, &context.query, Allow::PLAIN)?;
        let mut response = value_response(&context.headers, accepted, value, None, StatusCode::OK)
            .map_err(|failure| to_status(None, &failure))?;
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
        Ok(response)
    }

    fn aggregated(&self, context: &RequestContext, core: bool, version: &'static str) -> Response {
        let documents = self.aggregated.get_or_init(|| self.make_aggregated());
        let Some(document) = documents.get(&(core, version)) else {
            return http::Response::new(empty_body());
        };
        if context.headers.get(IF_NONE_MATCH).is_some_and(|tag| *tag == document.etag) {
            let mut response = http::Response::new(empty_body());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().insert(ETAG, document.etag.clone());
            return response;
        }
        let content_type = match version {
            "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        };
        let mut response = raw_response(
            &context.headers,
            HeaderValue::from_static(content_type),
            document.bytes.clone(),
            StatusCode::OK,
        );
        response.headers_mut().insert(ETAG, document.etag.clone());
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
        response
    }

    fn make_aggregated(&self) -> HashMap<(bool, &'static str), Tagged> {
        let mut documents = HashMap::new();
        for core in [true, false] {
            for version in AGGREGATED {
                let mut bytes = Vec::new();
                let served = (self.kinds.as_slice(), self.remotes.as_slice());
                json::encode(&aggregated::document(served, &self.groups, core, version), &mut bytes);
                let etag = content_tag(&bytes);
                documents.insert((core, version), Tagged { bytes: bytes.into(), etag });
            }
        }
        documents
    }
}

/// A quoted hash of a document.
pub(super) fn content_tag(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", content_hash(bytes))).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A hash of a document that can stand in a URL.
pub(super) fn content_hash(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// The version of aggregated discovery that the client prefers to plain discovery.
fn aggregated_version(context: &RequestContext) -> Option<&'static str> {
    let header = context.headers.get(ACCEPT)?.to_str().ok()?;
    for clause in header.split(',').take(50) {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let (mut group, mut version, mut wanted) = ("", "", "");
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name {
                "g" => group = value,
                "v" => version = value,
                "as" => wanted = value,
                _ => {}
            }
        }
        if media != "application/json" {
            continue;
        }
        if wanted.is_empty() {
            return None;
        }
        if group == "apidiscovery.k8s.io" && wanted == "APIGroupDiscoveryList" {
            let found = AGGREGATED.into_iter().find(|known| *known == version);
            if found.is_some() {
                return found;
            }
        }
    }
    None
}
