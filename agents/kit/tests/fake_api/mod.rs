//! A small API server in memory, spoken to through a real `kube::Client` without any socket: collections, objects, paged
//! lists, resumable watches, and the faults that clients must live with.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "this is test code")]

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{Stream, StreamExt, stream};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower_service::Service;

type Frames = Pin<Box<dyn Stream<Item = Result<hyper::body::Frame<Bytes>, Infallible>> + Send + Sync>>;

struct Watcher {
    resource: String,
    sender: mpsc::Sender<Bytes>,
}

#[derive(Default)]
struct State {
    /// (resource, namespace, name) to object.
    objects: BTreeMap<(String, String, String), Value>,
    revision: u64,
    compacted: u64,
    log: Vec<(u64, String, Value)>,
    watchers: Vec<Watcher>,
    held: Option<(String, Vec<Bytes>)>,
    requests: Vec<String>,
    failures: VecDeque<u16>,
}

/// The server; clones share it.
#[derive(Clone, Default)]
pub struct FakeApi {
    state: Arc<Mutex<State>>,
}

struct Place {
    resource: String,
    namespace: String,
    name: String,
}

fn place(path: &str) -> Place {
    // /api/VERSION/… of the core group, /apis/GROUP/VERSION/… of others.
    let prefix = if path.starts_with("/apis/") { 3 } else { 2 };
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').skip(prefix).collect();
    let mut namespace = String::new();
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        parts[1].clone_into(&mut namespace);
        parts.drain(..2);
    }
    let part = |at: usize| parts.get(at).copied().unwrap_or_default().to_owned();
    Place { resource: part(0), namespace, name: part(1) }
}

impl FakeApi {
    /// A client of this server.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// Stores an object and tells the watchers.
    pub fn put(&self, resource: &str, namespace: &str, name: &str, mut object: Value) -> Value {
        let mut state = self.state.lock();
        state.revision += 1;
        let revision = state.revision;
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{revision}"));
        }
        let existed = state.objects.insert(key, object.clone()).is_some();
        state.publish(resource, if existed { "MODIFIED" } else { "ADDED" }, &object);
        object
    }

    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.lock().objects.get(&key).cloned()
    }

    /// Removes an object and tells the watchers.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut state = self.state.lock();
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        let mut object = state.objects.remove(&key)?;
        state.revision += 1;
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        state.publish(resource, "DELETED", &object);
        Some(object)
    }

    /// Sends a bookmark of the current revision.
    pub fn bookmark(&self, resource: &str) -> u64 {
        let mut state = self.state.lock();
        state.revision += 1;
        let meta = json!({"resourceVersion": state.revision.to_string()});
        let event =
            json!({"type": "BOOKMARK", "object": {"kind": "X", "apiVersion": "v1", "metadata": meta}});
        state.send(resource, &event);
        state.revision
    }

    /// Ends all open watches in order.
    pub fn drop_watches(&self) {
        self.state.lock().watchers.clear();
    }

    /// Ends all watches and forgets the history: old revisions answer 410.
    pub fn expire(&self) {
        let mut state = self.state.lock();
        state.watchers.clear();
        state.log.clear();
        state.compacted = state.revision;
    }

    /// Keeps the watch events of a resource back until [`FakeApi::release`].
    pub fn hold(&self, resource: &str) {
        self.state.lock().held = Some((resource.to_owned(), Vec::new()));
    }

    /// Delivers what was kept back.
    pub fn release(&self) {
        let mut state = self.state.lock();
        let Some((resource, lines)) = state.held.take() else { return };
        for line in lines {
            state.deliver(&resource, &line);
        }
    }

    /// The next writes answer these codes.
    pub fn fail(&self, codes: impl IntoIterator<Item = u16>) {
        self.state.lock().failures.extend(codes);
    }

    /// All requests so far, as `METHOD path?query`.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().requests.clone()
    }

    /// The names of all objects of a resource.
    pub fn names(&self, resource: &str) -> Vec<String> {
        let state = self.state.lock();
        state
            .objects
            .keys()
            .filter(|(have, _, _)| have == resource)
            .map(|(_, _, name)| name.clone())
            .collect()
    }

    /// How many watches of a resource are open.
    pub fn watches(&self, resource: &str) -> usize {
        self.state.lock().watchers.iter().filter(|watcher| watcher.resource == resource).count()
    }

    async fn answer(self, request: Request<Body>) -> Response<BoxBody<Bytes, Infallible>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        self.state.lock().requests.push(format!("{} {}?{query}", parts.method, parts.uri.path()));
        let at = place(parts.uri.path());
        if parts.method == Method::GET && query.contains("watch=true") {
            return self.watch(&at, &query);
        }
        if parts.method == Method::GET {
            return if at.name.is_empty() { self.list(&at, &query) } else { self.get(&at) };
        }
        if let Some(code) = self.state.lock().failures.pop_front() {
            return status(code, "Injected");
        }
        self.write(&parts.method, at, body)
    }

    fn write(&self, method: &Method, at: Place, body: Value) -> Response<BoxBody<Bytes, Infallible>> {
        let key = |name: &str| (at.resource.clone(), at.namespace.clone(), name.to_owned());
        let present = self.state.lock().objects.get(&key(&at.name)).cloned();
        if *method == Method::POST {
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if self.state.lock().objects.contains_key(&key(&name)) {
                return status(409, "AlreadyExists");
            }
            return object(201, &self.put(&at.resource, &at.namespace, &name, body));
        }
        let Some(mut present) = present else { return status(404, "NotFound") };
        if *method == Method::DELETE {
            let wanted = &body["preconditions"]["uid"];
            if wanted.is_string() && *wanted != present["metadata"]["uid"] {
                return status(409, "Conflict");
            }
            return object(200, &self.delete(&at.resource, &at.namespace, &at.name).unwrap());
        }
        let version = &body["metadata"]["resourceVersion"];
        if *method == Method::PUT && version.is_string() && *version != present["metadata"]["resourceVersion"]
        {
            return status(409, "Conflict");
        }
        for (field, value) in body["metadata"].as_object().into_iter().flatten() {
            present["metadata"][field] = value.clone();
        }
        for (field, value) in body.as_object().into_iter().flatten().filter(|(field, _)| *field != "metadata")
        {
            present[field] = value.clone();
        }
        object(200, &self.put(&at.resource, &at.namespace, &at.name, present))
    }

    fn get(&self, at: &Place) -> Response<BoxBody<Bytes, Infallible>> {
        let key = (at.resource.clone(), at.namespace.clone(), at.name.clone());
        match self.state.lock().objects.get(&key) {
            Some(found) => object(200, found),
            None => status(404, "NotFound"),
        }
    }

    fn list(&self, at: &Place, query: &str) -> Response<BoxBody<Bytes, Infallible>> {
        let state = self.state.lock();
        let all: Vec<&Value> = state
            .objects
            .iter()
            .filter(|((resource, namespace, _), _)| {
                *resource == at.resource && (at.namespace.is_empty() || *namespace == at.namespace)
            })
            .map(|(_, object)| object)
            .collect();
        let begin: usize = parameter(query, "continue").and_then(|text| text.parse().ok()).unwrap_or(0);
        let limit: usize = parameter(query, "limit").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
        let end = begin.saturating_add(limit).min(all.len());
        let mut meta = json!({"resourceVersion": state.revision.to_string()});
        if end < all.len() {
            meta["continue"] = json!(end.to_string());
        }
        object(200, &json!({"apiVersion": "v1", "kind": "List", "metadata": meta, "items": all[begin..end]}))
    }

    fn watch(&self, at: &Place, query: &str) -> Response<BoxBody<Bytes, Infallible>> {
        let mut state = self.state.lock();
        let from: u64 = parameter(query, "resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        if from < state.compacted {
            return status(410, "Expired");
        }
        let past: Vec<Bytes> = state
            .log
            .iter()
            .filter(|(revision, resource, _)| *revision > from && *resource == at.resource)
            .map(|(_, _, event)| line(event))
            .collect();
        let (sender, receiver) = mpsc::channel(10_000);
        state.watchers.push(Watcher { resource: at.resource.clone(), sender });
        let frames = stream::iter(past).chain(receiver).map(|line| Ok(hyper::body::Frame::data(line)));
        respond(200, Box::pin(frames))
    }
}

impl State {
    fn publish(&mut self, resource: &str, event: &str, object: &Value) {
        let event = json!({"type": event, "object": object});
        self.log.push((self.revision, resource.to_owned(), event.clone()));
        self.send(resource, &event);
    }

    fn send(&mut self, resource: &str, event: &Value) {
        let line = line(event);
        match &mut self.held {
            Some((kept, lines)) if kept == resource => lines.push(line),
            _ => self.deliver(resource, &line),
        }
    }

    fn deliver(&mut self, resource: &str, line: &Bytes) {
        self.watchers.retain_mut(|watcher| {
            watcher.resource != resource || watcher.sender.try_send(line.clone()).is_ok()
        });
    }
}

impl Service<Request<Body>> for FakeApi {
    type Response = Response<BoxBody<Bytes, Infallible>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move { Ok(api.answer(request).await) })
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

fn object(code: u16, object: &Value) -> Response<BoxBody<Bytes, Infallible>> {
    let frame = Ok(hyper::body::Frame::data(Bytes::from(object.to_string())));
    respond(code, Box::pin(stream::iter([frame])))
}

fn status(code: u16, reason: &str) -> Response<BoxBody<Bytes, Infallible>> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": reason});
    object(code, &body)
}

fn respond(code: u16, frames: Frames) -> Response<BoxBody<Bytes, Infallible>> {
    Response::builder().status(code).body(BoxBody::new(StreamBody::new(frames))).unwrap()
}
