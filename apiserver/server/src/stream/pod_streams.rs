//! `pods/log`, `pods/exec`, `pods/attach` and `pods/portforward`: carried to the agent of the pod's node.

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::{NODE, POD};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::agent_answer::checked;
use super::backend::{Backend, Target, Trust};
use super::connect;
use super::forward::{forward, nothing, wanted_upgrade};
use super::node::node_address;
use super::pod_options::{choose_container, exec_path, log_path, port_forward_path};
use crate::authz::forbidden;
use crate::handlers::add_warnings;
use crate::registry::Registry;
use crate::request::RequestContext;
use crate::types::{Authorize, Endpoint, Request, Response};

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodStream {
    /// The output of a container.
    Log,
    /// A command in a container.
    Exec,
    /// The streams of a container's main process.
    Attach,
    /// Connections to ports of the pod.
    PortForward,
}

/// Answers one of the subresources.
pub struct PodStreams {
    /// Which one.
    pub stream: PodStream,
    /// Where pods and nodes are.
    pub registry: Registry,
    /// The way to node agents.
    pub backend: Backend,
    /// For the right that a GET upgrade needs besides `get`.
    pub authorizer: Arc<dyn Authorize>,
}

impl PodStreams {
    async fn carry(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        if self.stream != PodStream::Log {
            self.check_right(&context).await?;
            connect::admit(&context, &POD, "").await?;
            if wanted_upgrade(request.headers()).is_none() {
                return Err(Status::bad_request("Upgrade request required"));
            }
        }
        let (namespace, name) = (context.info.namespace.as_str(), context.info.name.as_str());
        // Logs are looked at when a cluster is in trouble: they are read by what is left of it.
        let stale = match self.stream {
            PodStream::Log => self.registry.fresh_or_stale().await?,
            _ => self.registry.fresh().await.map(|()| None)?,
        };
        let found = self.registry.get_readable(&POD, namespace, name)?;
        let found = found.ok_or_else(|| Status::not_found("", "pods", name))?;
        let pod = self.registry.decode_served(&POD, &found)?;
        let path = self.path(&context, &pod)?;
        let node = pod.path_str(&["spec", "nodeName"]).unwrap_or_default();
        if node.is_empty() {
            return match self.stream {
                PodStream::Log => Ok(nothing()),
                _ => Err(Status::bad_request(format!("pod {name} does not have a host assigned"))),
            };
        }
        let target = agent_of(&self.registry, node)?;
        let mut response = forward(&self.backend, &target, &path, request).await?;
        // Whoever asked for a stream hears the agent itself; a log is an answer of the API.
        if self.stream == PodStream::Log {
            response = checked(response, name).await?;
        }
        if let Some(stale) = stale {
            add_warnings(&mut response, &[stale.warning()]);
        }
        Ok(response)
    }

    fn path(&self, context: &RequestContext, pod: &Value) -> Result<String, Status> {
        let query = &context.query;
        if self.stream == PodStream::PortForward {
            return port_forward_path(pod, query);
        }
        let container = choose_container(pod, query.non_empty("container"))?;
        match self.stream {
            PodStream::Log => log_path(pod, &container, query),
            PodStream::Exec => Ok(exec_path("exec", pod, &container, query)),
            _ => Ok(exec_path("attach", pod, &container, query)),
        }
    }

    /// A stream into a container always needs `create`: a WebSocket starts with GET, and a right to read must not become
    /// a right to run commands.
    async fn check_right(&self, context: &RequestContext) -> Result<(), Status> {
        let mut attributes = context.info.attributes();
        if attributes.verb != "create" {
            attributes.verb = "create".into();
            let decision = self.authorizer.authorize(context.user(), &attributes).await;
            if !decision.is_allowed() {
                let why = forbidden::message(context.user(), &attributes, decision.reason());
                return Err(Status::forbidden("", "pods", &attributes.name, why));
            }
        }
        Ok(())
    }
}

/// Where the agent of a node listens.
///
/// # Errors
/// 404 for no such node, 500 for one without an address.
pub async fn node_agent(registry: &Registry, name: &str) -> Result<Target, Status> {
    registry.fresh().await?;
    agent_of(registry, name)
}

/// The same, as the cache says.
fn agent_of(registry: &Registry, name: &str) -> Result<Target, Status> {
    let found =
        registry.get_readable(&NODE, "", name)?.ok_or_else(|| Status::not_found("", "nodes", name))?;
    let node = registry.decode_served(&NODE, &found)?;
    let address = node_address(&node)
        .ok_or_else(|| Status::internal(format!("no preferred addresses found for node {name:?}")))?;
    Ok(Target { host: address.host, port: address.port, trust: Trust::NodeAgent })
}

impl Endpoint for PodStreams {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.carry(context, request))
    }

    fn long_running(&self) -> bool {
        true
    }
}
