//! `pods/proxy`, `services/proxy` and `nodes/proxy`.

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::{ENDPOINT_SLICE, NODE, POD, SERVICE};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::backend::{Backend, Target};
use super::connect;
use super::forward::forward;
use super::pod_streams::node_agent;
use super::proxy_target::{ProxyName, guarded, number, pod_target, service_target, split_name, tail};
use crate::config::Randomness;
use crate::registry::Registry;
use crate::request::RequestContext;
use crate::types::{Endpoint, Request, Response};

/// Which object a proxy leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// A pod's address.
    Pod,
    /// An address behind a Service.
    Service,
    /// A node's agent, or another port of the node.
    Node,
}

/// Answers one of the subresources.
pub struct ObjectProxy {
    /// Which one.
    pub kind: ProxyKind,
    /// Where the objects are.
    pub registry: Registry,
    /// The way to the backends.
    pub backend: Backend,
    /// Chooses among the addresses of a Service.
    pub randomness: Arc<dyn Randomness>,
}

impl ObjectProxy {
    async fn carry(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let (what, kind) = match self.kind {
            ProxyKind::Pod => ("pod", &POD),
            ProxyKind::Service => ("service", &SERVICE),
            ProxyKind::Node => ("node", &NODE),
        };
        let path = tail(request.uri().path(), request.uri().query());
        connect::admit(&context, kind, path.split('?').next().unwrap_or_default()).await?;
        let name = split_name(what, &context.info.name)?;
        let target = match self.kind {
            ProxyKind::Pod => pod_target(&self.find(&POD, &context, name.name).await?, &name)?,
            ProxyKind::Service => self.service(&context, &name).await?,
            ProxyKind::Node => self.node(&name).await?,
        };
        forward(&self.backend, &target, &path, request).await
    }

    async fn find(&self, kind: &'static Kind, context: &RequestContext, name: &str) -> Result<Value, Status> {
        let found = self.registry.get_fresh(kind, &context.info.namespace, name).await?;
        let found = found.ok_or_else(|| Status::not_found(kind.group, kind.plural, name))?;
        self.registry.decode_served(kind, &found)
    }

    async fn service(&self, context: &RequestContext, name: &ProxyName<'_>) -> Result<Target, Status> {
        let service = self.find(&SERVICE, context, name.name).await?;
        let snapshot = self.registry.snapshot_fresh(&ENDPOINT_SLICE).await?;
        let slices = snapshot
            .namespace(&context.info.namespace)
            .filter(|slice| slice.header.label("kubernetes.io/service-name") == Some(name.name))
            .map(|slice| self.registry.decode_served(&ENDPOINT_SLICE, slice))
            .collect::<Result<Vec<_>, _>>()?;
        let mut random = [0; 8];
        self.randomness.fill(&mut random);
        service_target(&service, &slices, name, usize::from_be_bytes(random))
    }

    async fn node(&self, name: &ProxyName<'_>) -> Result<Target, Status> {
        let agent = node_agent(&self.registry, name.name).await?;
        match name.port {
            "" => Ok(agent),
            port if port.parse() == Ok(agent.port) => Ok(agent),
            // Any other port is the node's business, not its agent's: without our certificate, and guarded.
            port => guarded(&agent.host, number(port)?, name.https),
        }
    }
}

impl Endpoint for ObjectProxy {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.carry(context, request))
    }

    fn long_running(&self) -> bool {
        true
    }
}
