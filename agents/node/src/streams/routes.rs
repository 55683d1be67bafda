//! Which path of the kubelet API does what.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use mainstay_base::lifecycle::Tasks;
use serde_json::json;
use tokio::sync::watch;

use super::exec::{self, ExecCall};
use super::logs;
use super::metrics::RunningMetrics;
use super::port_forward::{self, Forward};
use super::query::{self, Query};
use super::respond::{self, Body};
use crate::agent::Agent;
use crate::desired::Desired;
use crate::runtime_state::PodRuntime;

/// What the handlers share.
pub(super) struct Routes {
    pub agent: Arc<Agent>,
    pub tasks: Tasks,
    pub desired: watch::Receiver<Option<Desired>>,
    pub running: RunningMetrics,
}

impl Routes {
    /// Answers one request.
    pub(super) fn answer(&self, request: Request<Incoming>, allowed: bool) -> Response<Body> {
        if !allowed {
            return respond::text(
                StatusCode::FORBIDDEN,
                "Forbidden: this client may not use the kubelet API",
            );
        }
        let path: Vec<String> =
            request.uri().path().split('/').filter(|p| !p.is_empty()).map(query::decode).collect();
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["healthz"]) => respond::text(StatusCode::OK, "ok"),
            (&Method::GET, ["pods"]) => self.pods(),
            (&Method::GET, ["metrics"]) => self.metrics(),
            (&Method::GET, ["containerLogs", namespace, pod, container]) => {
                match self.find(namespace, pod, None) {
                    Some(pod) => logs::serve(&self.agent, &self.tasks, &pod, container, &query),
                    None => no_pod(pod),
                }
            }
            (&Method::GET | &Method::POST, ["exec", rest @ ..]) => self.exec(request, rest, false, &query),
            (&Method::GET | &Method::POST, ["attach", rest @ ..]) => self.exec(request, rest, true, &query),
            (&Method::GET | &Method::POST, ["portForward", rest @ ..]) => {
                self.port_forward(request, rest, &query)
            }
            _ => respond::text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    /// `/exec/{namespace}/{pod}[/{uid}]/{container}`, and the same for attach.
    fn exec(
        &self,
        request: Request<Incoming>,
        parts: &[&str],
        attach: bool,
        query: &Query,
    ) -> Response<Body> {
        let (namespace, name, uid, container) = match *parts {
            [namespace, name, container] => (namespace, name, None, container),
            [namespace, name, uid, container] => (namespace, name, Some(uid), container),
            _ => return respond::text(StatusCode::NOT_FOUND, "404 page not found"),
        };
        let Some(pod) = self.find(namespace, name, uid) else { return no_pod(name) };
        let records = self.records(&pod);
        let Some(record) = records.latest(container) else {
            return respond::text(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")"));
        };
        if !record.running() {
            let text = format!("container \"{container}\" in pod \"{name}\" is not running");
            return respond::text(StatusCode::INTERNAL_SERVER_ERROR, text);
        }
        match ExecCall::new(record.id.clone(), attach, query) {
            Ok(call) => exec::serve(&self.agent, &self.tasks, request, call),
            Err(error) => respond::text(StatusCode::BAD_REQUEST, error),
        }
    }

    /// `/portForward/{namespace}/{pod}[/{uid}]`.
    fn port_forward(&self, request: Request<Incoming>, parts: &[&str], query: &Query) -> Response<Body> {
        let (namespace, name, uid) = match *parts {
            [namespace, name] => (namespace, name, None),
            [namespace, name, uid] => (namespace, name, Some(uid)),
            _ => return respond::text(StatusCode::NOT_FOUND, "404 page not found"),
        };
        let Some(pod) = self.find(namespace, name, uid) else { return no_pod(name) };
        let records = self.records(&pod);
        let Some(sandbox) = records.sandbox().filter(|s| s.ready) else {
            let text = format!("not able to find a ready sandbox of pod \"{name}\"");
            return respond::text(StatusCode::INTERNAL_SERVER_ERROR, text);
        };
        let forward = Forward {
            agent: Arc::clone(&self.agent),
            sandbox_id: sandbox.id.clone(),
            pod_name: name.to_owned(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        };
        port_forward::serve(forward, &self.tasks, request, query)
    }

    fn records(&self, pod: &Pod) -> Arc<PodRuntime> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.agent.observer.watch(uid).borrow().clone()
    }

    /// The pod of this name, of this uid when one is given.
    pub(super) fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
        let desired = self.desired.borrow();
        let pods = desired.as_ref()?;
        let found = pods.iter().find(|(own, pod)| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name)
                && uid.is_none_or(|uid| uid == own.as_str())
        });
        found.map(|(_, pod)| Arc::clone(pod))
    }

    fn pods(&self) -> Response<Body> {
        let items: Vec<Arc<Pod>> =
            self.desired.borrow().iter().flat_map(|pods| pods.values().cloned()).collect();
        let items: Vec<&Pod> = items.iter().map(AsRef::as_ref).collect();
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
        respond::typed(StatusCode::OK, "application/json", list.to_string().into_bytes())
    }

    fn metrics(&self) -> Response<Body> {
        self.running.update(&self.agent.observer);
        let text = prometheus::TextEncoder::new().encode_to_string(&self.agent.config.registry.gather());
        match text {
            Ok(text) => respond::typed(StatusCode::OK, "text/plain; version=0.0.4", text.into_bytes()),
            Err(error) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

/// The answer for a pod that is not here.
pub(super) fn no_pod(name: &str) -> Response<Body> {
    respond::text(StatusCode::NOT_FOUND, format!("pod \"{name}\" does not exist"))
}
