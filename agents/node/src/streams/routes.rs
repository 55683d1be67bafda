//! Which path of the kubelet API does what.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use mainstay_base::lifecycle::Tasks;
use serde_json::json;
use tokio::sync::watch;

use super::logs;
use super::query::{self, Query};
use super::respond::{self, Body};
use crate::agent::Agent;
use crate::desired::Desired;

/// What the handlers share.
pub(super) struct Routes {
    pub agent: Arc<Agent>,
    pub tasks: Tasks,
    pub desired: watch::Receiver<Option<Desired>>,
}

impl Routes {
    /// Answers one request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>, allowed: bool) -> Response<Body> {
        if !allowed {
            return respond::text(StatusCode::FORBIDDEN, "Forbidden: this client may not use the kubelet API");
        }
        let path: Vec<String> =
            request.uri().path().split('/').filter(|p| !p.is_empty()).map(query::decode).collect();
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        match (request.method(), parts.as_slice()) {
            (&Method::GET, ["healthz"]) => respond::text(StatusCode::OK, "ok"),
            (&Method::GET, ["pods"]) => self.pods(),
            (&Method::GET, ["metrics"]) => self.metrics(),
            (&Method::GET, ["containerLogs", namespace, pod, container]) => match self.find(namespace, pod, None) {
                Some(pod) => logs::serve(&self.agent, &self.tasks, &pod, container, &query),
                None => no_pod(pod),
            },
            _ => respond::text(StatusCode::NOT_FOUND, "404 page not found"),
        }
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
        let items: Vec<Arc<Pod>> = self.desired.borrow().iter().flat_map(|pods| pods.values().cloned()).collect();
        let items: Vec<&Pod> = items.iter().map(AsRef::as_ref).collect();
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
        respond::typed(StatusCode::OK, "application/json", list.to_string().into_bytes())
    }

    fn metrics(&self) -> Response<Body> {
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
