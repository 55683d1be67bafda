//! The streaming endpoints, by the subresource that they answer.

use std::sync::Arc;

use mainstay_base::lifecycle::Tasks;

use super::backend::{Backend, BackendError};
use super::pod_streams::{PodStream, PodStreams};
use super::proxy::{ObjectProxy, ProxyKind};
use crate::config::{Randomness, ServerConfig};
use crate::registry::Registry;
use crate::types::{Authorize, Endpoint, EndpointKey};

/// What the streaming endpoints share.
pub struct Streams {
    registry: Registry,
    backend: Backend,
    authorizer: Arc<dyn Authorize>,
    randomness: Arc<dyn Randomness>,
}

impl Streams {
    /// Streams with the identity in `config`; connections run in `tasks`.
    ///
    /// # Errors
    /// An identity that cannot be used.
    pub fn new(
        config: &ServerConfig,
        registry: &Registry,
        authorizer: Arc<dyn Authorize>,
        tasks: Tasks,
    ) -> Result<Self, BackendError> {
        Ok(Self {
            registry: registry.clone(),
            backend: Backend::new(&config.kubelet, tasks)?,
            authorizer,
            randomness: Arc::clone(&config.randomness),
        })
    }
}

/// All streaming endpoints.
pub fn endpoints(streams: &Streams) -> Vec<(EndpointKey, Arc<dyn Endpoint>)> {
    let mut endpoints: Vec<(EndpointKey, Arc<dyn Endpoint>)> = Vec::new();
    for (name, stream) in [
        ("log", PodStream::Log),
        ("exec", PodStream::Exec),
        ("attach", PodStream::Attach),
        ("portforward", PodStream::PortForward),
    ] {
        let endpoint = PodStreams {
            stream,
            registry: streams.registry.clone(),
            backend: streams.backend.clone(),
            authorizer: Arc::clone(&streams.authorizer),
        };
        endpoints.push((EndpointKey::new("", "pods", name), Arc::new(endpoint)));
    }
    for (resource, kind) in
        [("pods", ProxyKind::Pod), ("services", ProxyKind::Service), ("nodes", ProxyKind::Node)]
    {
        let endpoint = ObjectProxy {
            kind,
            registry: streams.registry.clone(),
            backend: streams.backend.clone(),
            randomness: Arc::clone(&streams.randomness),
        };
        endpoints.push((EndpointKey::new("", resource, "proxy"), Arc::new(endpoint)));
    }
    endpoints
}
