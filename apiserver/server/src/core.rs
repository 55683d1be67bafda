//! What every request needs, put together once when the server starts.

use std::collections::HashMap;
use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_base::lifecycle::Clock;
use mainstay_base::telemetry::trace::Tracer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::audit::Auditor;
use crate::authn::impersonation_modes::LastModes;
use crate::config::{Limits, Randomness};
use crate::discovery::Documents;
use crate::flow::FlowControl;
use crate::front::Beats;
use crate::handlers::Writer;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::types::{Admit, Assembly, Authenticate, Authorize, Endpoint, EndpointKey};

/// The shared state of the request path.
pub struct Core {
    /// Stored objects.
    pub registry: Registry,
    /// The way to change them.
    pub writer: Writer,
    /// Authentication.
    pub authenticator: Arc<dyn Authenticate>,
    /// Authorization.
    pub authorizer: Arc<dyn Authorize>,
    /// How callers that act as others were last allowed to.
    pub impersonators: LastModes,
    /// The audit log, where there is one.
    pub auditor: Option<Arc<Auditor>>,
    /// Where requests are traced to, if they are.
    pub tracer: Option<Tracer>,
    /// Bounds.
    pub limits: Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub randomness: Arc<dyn Randomness>,
    /// Metrics.
    pub metrics: Metrics,
    /// Discovery and OpenAPI documents.
    pub documents: Documents,
    /// Who listens whether this server is ready.
    pub(crate) beats: Beats,
    /// Room for requests.
    pub flow: Flow,
    /// Cancelled when the server is about to drain: it serves on, but says that it is not ready.
    pub leaving: CancellationToken,
    /// Cancelled when the server drains.
    pub stop: CancellationToken,
    endpoints: HashMap<EndpointKey, Arc<dyn Endpoint>>,
}

/// Room for requests, by what they cost.
pub struct Flow {
    /// Requests that are answered at once, by priority.
    pub(crate) control: FlowControl,
    /// Watches and streams.
    pub long_running: Arc<Semaphore>,
}

/// What [`Core::new`] is made of besides the gates.
pub struct Foundation {
    /// Stored objects.
    pub registry: Registry,
    /// Bounds.
    pub limits: Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub randomness: Arc<dyn Randomness>,
    /// Metrics.
    pub metrics: Metrics,
    /// The audit log, where there is one.
    pub auditor: Option<Arc<Auditor>>,
    /// Where requests are traced to, if they are.
    pub tracer: Option<Tracer>,
    /// Cancelled when the server drains.
    pub stop: CancellationToken,
}

impl Core {
    /// The request path over `assembly`, serving the registry's kinds.
    pub fn new(foundation: Foundation, assembly: Assembly) -> Self {
        let Foundation { registry, limits, clock, randomness, metrics, auditor, tracer, stop } = foundation;
        let seats = (limits.inflight_reads_max + limits.inflight_writes_max) as u64;
        let admission: Arc<dyn Admit> = assembly.admission;
        let writer = Writer::new(registry.clone(), admission, Arc::clone(&clock), Arc::clone(&randomness));
        let endpoints: HashMap<_, _> = assembly.endpoints.into_iter().collect();
        Self {
            writer,
            authenticator: assembly.authenticator,
            authorizer: assembly.authorizer,
            impersonators: LastModes::default(),
            auditor,
            tracer,
            beats: Beats::default(),
            flow: Flow {
                control: FlowControl::new(seats, metrics.flow.clone(), Arc::clone(&clock)),
                long_running: Arc::new(Semaphore::new(limits.long_running_max)),
            },
            clock,
            randomness,
            documents: Documents::new(registry.served().clone(), registry.aggregated().clone()),
            metrics,
            registry,
            limits,
            leaving: CancellationToken::new(),
            stop,
            endpoints,
        }
    }

    /// The kind served at a group, version and resource.
    pub fn kind(&self, group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
        self.registry.served().find(group, version, resource)
    }

    /// The special endpoint for a resource and subresource.
    pub fn endpoint(&self, group: &str, resource: &str, subresource: &str) -> Option<&Arc<dyn Endpoint>> {
        self.endpoints.get(&EndpointKey::new(group, resource, subresource))
    }
}
