//! `/metrics/store`: this server's store under etcd's names, for those who may read it by RBAC.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use mainstay_apiserver_server::request::RequestContext;
use mainstay_apiserver_server::types::{Endpoint, EndpointKey, Request, Response, full_body};
use mainstay_proto_api::Status;
use mainstay_store::Store;
use mainstay_store::etcd::store_metrics;

const PATH: &str = "/metrics/store";
/// Prometheus' text format.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The endpoint for the API server.
pub(crate) fn endpoint(store: Store) -> (EndpointKey, Arc<dyn Endpoint>) {
    (EndpointKey::new("", PATH, ""), Arc::new(StoreMetrics { store }))
}

struct StoreMetrics {
    store: Store,
}

impl StoreMetrics {
    async fn text(&self, method: Method) -> Result<Response, Status> {
        if method != Method::GET {
            return Err(Status::failure(405, "MethodNotAllowed", "the method is not supported here"));
        }
        let text = store_metrics(&self.store).await;
        let text = text.map_err(|error| Status::service_unavailable(error.to_string()))?;
        let mut response = Response::new(full_body(text));
        response.headers_mut().insert(CONTENT_TYPE, TEXT);
        Ok(response)
    }
}

impl Endpoint for StoreMetrics {
    fn call(&self, _context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.text(request.method().clone()))
    }
}
