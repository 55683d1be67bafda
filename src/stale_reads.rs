//! `mainstay server allow-stale`: what is left of a cluster without a quorum may be read, for as long as an administrator
//! says so (docs/decisions/0056).

use std::sync::Arc;

use clap::Args;
use futures::future::BoxFuture;
use http::Method;
use mainstay_apiserver_server::request::RequestContext;
use mainstay_apiserver_server::types::{Endpoint, EndpointKey, Request, Response, full_body};
use mainstay_proto_api::Status;
use tracing::warn;

use crate::join::require_master;
use crate::refusal::refuse;
use crate::token::ClusterFlags;
use crate::up::{install_crypto, print_line, runtime};

/// Where a server is told. POST allows, DELETE ends it.
const PATH: &str = "/mainstay/v1/stale-reads";

/// `mainstay server allow-stale`.
#[derive(Debug, Args)]
pub(crate) struct AllowStaleFlags {
    /// End it: reads are refused again while there is no quorum.
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    cluster: ClusterFlags,
}

/// The endpoint for the API server.
pub(crate) fn endpoint() -> (EndpointKey, Arc<dyn Endpoint>) {
    (EndpointKey::new("", PATH, ""), Arc::new(Switch))
}

struct Switch;

impl Switch {
    fn answer(context: &RequestContext, method: &Method) -> Result<Response, Status> {
        require_master(context)?;
        let allowed = match *method {
            Method::POST => true,
            Method::DELETE => false,
            _ => return Err(Status::failure(405, "MethodNotAllowed", "the method is not supported here")),
        };
        context.writer.registry().allow_stale_reads(allowed);
        warn!(allowed, user = %context.user().name, "stale reads, for as long as there is no quorum");
        Ok(Response::new(full_body("{}")))
    }
}

impl Endpoint for Switch {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(std::future::ready(Self::answer(&context, request.method())))
    }
}

/// Tells the server of the kubeconfig.
///
/// # Errors
/// It cannot be reached, or refuses.
pub(crate) fn run(flags: &AllowStaleFlags) -> anyhow::Result<()> {
    install_crypto()?;
    runtime()?.block_on(async {
        let (client, _ca) = flags.cluster.connect().await?;
        let method = if flags.off { Method::DELETE } else { Method::POST };
        let request = http::Request::builder().method(method).uri(PATH).body(Vec::new())?;
        match client.request_text(request).await {
            Ok(_done) if flags.off => print_line("reads need a quorum again"),
            Ok(_done) => print_line(
                "without a quorum this server answers reads, with a warning, until it ends or --off is given; writes it refuses",
            ),
            Err(kube::Error::Api(status)) => Err(refuse(status.message)),
            Err(error) => Err(error.into()),
        }
    })
}
