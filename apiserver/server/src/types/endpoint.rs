//! Endpoints that are not plain stored objects: reviews, tokens, bindings, evictions, exec, logs, proxies.

use futures::future::BoxFuture;
use mainstay_proto_api::Status;
use smol_str::SmolStr;

use super::{Request, Response};
use crate::request::RequestContext;

/// Which requests an endpoint answers: all verbs of one subresource, or the `create` of one review resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// API group, empty for core.
    pub group: SmolStr,
    /// Plural resource name, such as `pods` or `subjectaccessreviews`.
    pub resource: SmolStr,
    /// Subresource, such as `exec`; empty for review resources.
    pub subresource: SmolStr,
}

impl EndpointKey {
    /// Key of a subresource.
    pub fn new(group: &str, resource: &str, subresource: &str) -> Self {
        Self { group: group.into(), resource: resource.into(), subresource: subresource.into() }
    }
}

/// Answers the requests of one [`EndpointKey`]. Authentication and authorization have run; admission has not.
pub trait Endpoint: Send + Sync {
    /// Answers one request. The body is not yet read; [`crate::request::read_body`] reads it within the limit and
    /// [`crate::request::decode_object`] decodes it as the client's content type says;
    /// [`crate::request::respond_object`] answers in the format the client accepts.
    ///
    /// # Errors
    /// A [`Status`] is sent to the client as it is.
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>>;

    /// True for streams that stay open: they take no place among the requests in flight and have no deadline.
    fn long_running(&self) -> bool {
        false
    }
}
