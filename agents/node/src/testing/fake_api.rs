//! A Kubernetes API in memory: objects by path, resource versions, watches, the patches that the agent sends.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::streams::testing::Query;

#[derive(Default)]
struct State {
    version: u64,
    /// By collection path (without namespace), namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    history: Vec<(u64, &'static str, String, Value)>,
}

/// The API; cheap to clone.
#[derive(Clone)]
pub(super) struct FakeApi {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

struct Target {
    collection: String,
    namespace: String,
    name: String,
    subresource: String,
}

fn target(path: &str) -> Target {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let group = if parts[0] == "api" { 2 } else { 3 };
    let (group, rest) = parts.split_at(group);
    let (namespace, rest) = match rest {
        ["namespaces", namespace, more @ ..] if !more.is_empty() => ((*namespace).to_owned(), more),
        rest => (String::new(), rest),
    };
    let part = |n: usize| rest.get(n).map(|s| (*s).to_owned()).unwrap_or_default();
    Target {
        collection: format!("{}/{}", group.join("/"), part(0)),
        namespace,
        name: part(1),
        subresource: part(2),
    }
}

fn reply(status: u16, value: &Value) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn failure(code: u16, reason: &str) -> Reply {
    reply(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code}),
    )
}

fn selected(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|s| !s.is_empty()).all(|term| {
        let (path, want) = term.split_once('=').unwrap();
        let found = path.split('.').try_fold(object, |value, key| value.get(key));
        found.and_then(Value::as_str) == Some(want)
    })
}

/// A strategic merge as far as statuses need it: lists of conditions merge by type, other lists replace.
fn merge(into: &mut Value, patch: &Value) {
    let (Some(map), Some(changes)) = (into.as_object_mut(), patch.as_object()) else {
        *into = patch.clone();
        return;
    };
    for (key, change) in changes {
        match (map.get_mut(key), change) {
            (_, Value::Null) => drop(map.remove(key)),
            (Some(Value::Array(old)), Value::Array(new)) if key == "conditions" => {
                for condition in new {
                    let same = old.iter_mut().find(|c| c["type"] == condition["type"]);
                    match same {
                        Some(own) => merge(own, condition),
                        None => old.push(condition.clone()),
                    }
                }
            }
            (_, Value::Array(new)) => {
                let kept: Vec<Value> = new.iter().filter(|v| v.get("$patch").is_none()).cloned().collect();
                map.insert(key.clone(), Value::Array(kept));
            }
            (Some(old), change @ Value::Object(_)) => merge(old, change),
            (_, change) => drop(map.insert(key.clone(), change.clone())),
        }
    }
}

impl FakeApi {
    pub(super) fn new() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(0) }
    }

    pub(super) fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    fn store(&self, collection: &str, mut object: Value, kind: &'static str) -> Value {
        let mut state = self.state.lock();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let key = (collection.to_owned(), text("namespace"), text("name"));
        if kind == "DELETED" {
            state.objects.remove(&key);
        } else {
            state.objects.insert(key, object.clone());
        }
        state.history.push((version, kind, collection.to_owned(), object.clone()));
        drop(state);
        self.changed.send_replace(version);
        object
    }

    /// Creates or replaces an object, as any other client of the API would.
    pub(super) fn put(&self, collection: &str, object: Value) {
        let meta = &object["metadata"];
        let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
        let exists = self.get(collection, &text("namespace"), &text("name")).is_some();
        self.store(collection, object, if exists { "MODIFIED" } else { "ADDED" });
    }

    pub(super) fn get(&self, collection: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (collection.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.lock().objects.get(&key).cloned()
    }

    pub(super) fn list(&self, collection: &str) -> Vec<Value> {
        let state = self.state.lock();
        state.objects.iter().filter(|((c, ..), _)| c == collection).map(|(_, o)| o.clone()).collect()
    }

    pub(super) fn remove(&self, collection: &str, namespace: &str, name: &str) {
        let object = self.get(collection, namespace, name).unwrap();
        self.store(collection, object, "DELETED");
    }

    /// Wakes on every change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn answer(&self, method: &Method, target: &Target, query: &Query, body: &[u8]) -> Reply {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let Target { collection, namespace, name, subresource } = target;
        match (method.as_str(), subresource.as_str()) {
            ("POST", "token") => {
                let later = (time::OffsetDateTime::now_utc() + time::Duration::hours(1))
                    .format(&time::format_description::well_known::Rfc3339)
                    .unwrap();
                reply(
                    201,
                    &json!({"metadata": {}, "spec": {}, "status": {"token": "t0ken", "expirationTimestamp": later}}),
                )
            }
            ("GET", _) if name.is_empty() && query.flag(&["watch"]) => self.watch(target, query),
            ("GET", _) if name.is_empty() => {
                // Read before the objects: one that is put meanwhile is told twice, where otherwise it would be told never.
                let version = self.state.lock().version.to_string();
                let fields = query.get("fieldSelector").unwrap_or_default();
                let all = self.list(collection).into_iter().filter(|o| {
                    selected(o, fields)
                        && (namespace.is_empty() || o["metadata"]["namespace"].as_str() == Some(namespace))
                });
                let items: Vec<Value> = all.collect();
                reply(
                    200,
                    &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            ("GET", _) => self
                .get(collection, namespace, name)
                .map_or_else(|| failure(404, "NotFound"), |o| reply(200, &o)),
            ("POST", _) => {
                let mut object = body;
                if !namespace.is_empty() {
                    object["metadata"]["namespace"] = namespace.clone().into();
                }
                reply(201, &self.store(collection, object, "ADDED"))
            }
            ("PATCH", _) => {
                let Some(mut object) = self.get(collection, namespace, name) else {
                    return failure(404, "NotFound");
                };
                merge(&mut object, &body);
                reply(200, &self.store(collection, object, "MODIFIED"))
            }
            ("DELETE", _) => {
                let Some(object) = self.get(collection, namespace, name) else {
                    return failure(404, "NotFound");
                };
                reply(200, &self.store(collection, object, "DELETED"))
            }
            _ => failure(405, "MethodNotAllowed"),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a test's server")]
    fn watch(&self, target: &Target, query: &Query) -> Reply {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(64);
        let mut from: u64 = query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
        let fields = query.get("fieldSelector").unwrap_or_default().to_owned();
        let (api, collection, namespace) =
            (self.clone(), target.collection.clone(), target.namespace.clone());
        tokio::spawn(async move {
            let mut changed = api.changes();
            loop {
                changed.borrow_and_update();
                let events: Vec<_> = {
                    let state = api.state.lock();
                    state
                        .history
                        .iter()
                        .filter(|(v, _, c, _)| *v > from && *c == collection)
                        .cloned()
                        .collect()
                };
                for (version, kind, _, object) in events {
                    from = version;
                    let here =
                        namespace.is_empty() || object["metadata"]["namespace"].as_str() == Some(&namespace);
                    if !here || !selected(&object, &fields) {
                        continue;
                    }
                    let line = format!("{}\n", json!({"type": kind, "object": object}));
                    if sender.send(line.into()).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = sender.closed() => return,
                    more = changed.changed() => if more.is_err() { return },
                }
            }
        });
        let frames = futures::stream::poll_fn(move |cx| {
            receiver.poll_recv(cx).map(|b| b.map(|b| Ok::<_, Infallible>(Frame::data(b))))
        });
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        response.headers_mut().insert("content-type", "application/json".parse().unwrap());
        response
    }
}

impl tower_service::Service<Request<Body>> for FakeApi {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let query = Query::parse(head.uri.query().unwrap_or_default());
            Ok(api.answer(&head.method, &target(head.uri.path()), &query, &body))
        })
    }
}
