//! What an API server answers an administrator who saves a snapshot: the store's rows, and beside them the manifest without keys.
//!
//! No key ever leaves a server this way.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use mainstay_apiserver_server::request::RequestContext;
use mainstay_apiserver_server::types::{BodyError, Endpoint, EndpointKey, Request, Response};
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_proto_api::Status;
use mainstay_store::{SnapshotRequest, Store};

use super::take;
use crate::config::Cluster;
use crate::join::require_master;

/// Where it is asked for.
pub(super) const SNAPSHOT: &str = "/mainstay/v1/snapshot";
/// The header with the manifest: JSON in base64.
pub(super) const MANIFEST: &str = "mainstay-manifest";

/// What a server answers with.
pub(crate) struct SnapshotDesk {
    /// The store's member in this process.
    pub(crate) store: Store,
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    /// The cluster.
    pub(crate) cluster: Cluster,
}

impl SnapshotDesk {
    /// The endpoint for the API server.
    pub(crate) fn endpoint(self) -> (EndpointKey, Arc<dyn Endpoint>) {
        (EndpointKey::new("", SNAPSHOT, ""), Arc::new(self))
    }

    async fn answer(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        if request.method() != Method::GET {
            return Err(Status::failure(405, "MethodNotAllowed", "the method is not supported here"));
        }
        require_master(&context)?;
        let current = self.store.current_revision().await;
        current.map_err(|error| Status::service_unavailable(format!("the store has no quorum: {error}")))?;
        let internal = |error: anyhow::Error| Status::internal(format!("{error:#}"));
        let manifest = take::manifest(&self.data_dir, &self.cluster, SystemClock.wall()).map_err(internal)?;
        let manifest = serde_json::to_vec(&manifest).map_err(|error| Status::internal(error.to_string()))?;
        let manifest = HeaderValue::from_str(&STANDARD.encode(manifest));
        let manifest = manifest.map_err(|error| Status::internal(error.to_string()))?;
        let pieces = self.store.snapshot(SnapshotRequest::default());
        let frames = pieces.map_ok(Frame::data).map_err(|error| BodyError::Producer(error.to_string()));
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(MANIFEST, manifest);
        Ok(response)
    }
}

impl Endpoint for SnapshotDesk {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.answer(context, request))
    }

    fn long_running(&self) -> bool {
        true
    }
}
