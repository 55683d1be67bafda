//! [`FrontDoor`]: carries a request to the extension server of its group and version, in the name of its user.

use futures::future::BoxFuture;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use mainstay_base::lifecycle::Tasks;
use mainstay_proto_api::Status;

use super::client::Client;
use super::headers::set_user;
use super::routes::Routes;
use crate::config::ServerConfig;
use crate::registry::Registry;
use crate::request::RequestContext;
use crate::stream::backend::{Backend, BackendError};
use crate::stream::forward::forward_over;
use crate::types::{Endpoint, Request, Response, full_body};

/// The group under which the front door stands among the endpoints.
pub const AGGREGATOR: &str = "apiregistration.k8s.io";

/// Answers requests of groups and versions that other servers have. They are authenticated, authorized and audited here.
#[derive(Clone)]
pub struct FrontDoor {
    pub(super) client: Client,
    pub(super) routes: Routes,
}

impl FrontDoor {
    /// A door with the front proxy's certificate of `config`; connections run in `tasks`.
    ///
    /// # Errors
    /// An identity that cannot be used.
    pub fn new(config: &ServerConfig, registry: &Registry, tasks: Tasks) -> Result<Self, BackendError> {
        let backend = Backend::new(&config.kubelet, tasks)?;
        let client = Client::new(registry.clone(), backend, config.front_proxy.clone());
        Ok(Self { client, routes: registry.aggregated().clone() })
    }

    async fn carry(&self, context: RequestContext, mut request: Request) -> Result<Response, Status> {
        let version = self.routes.find(&context.info.path).ok_or_else(Status::path_not_found)?;
        if !version.is_available {
            return Ok(unavailable());
        }
        let Ok(target) = self.client.target(&version.remote) else { return Ok(unavailable()) };
        set_user(request.headers_mut(), context.user());
        let path = request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let connection = self.client.connect(&version.remote, &target);
        forward_over(self.client.backend.tasks(), &target, connection, &path, request).await
    }
}

/// Upstream's answer while the other server is not available: a line of text.
fn unavailable() -> Response {
    let mut response = http::Response::new(full_body("service unavailable\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

impl Endpoint for FrontDoor {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.carry(context, request))
    }
}
