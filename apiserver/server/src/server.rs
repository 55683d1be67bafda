//! Starting and stopping the server.

use std::net::SocketAddr;
use std::sync::Arc;

use mainstay_base::lifecycle::Tasks;
use mainstay_proto_api::Status;
use mainstay_store::Store;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

use crate::audit::{Auditor, LogError};
use crate::backing::{Backing, BackingError};
use crate::bootstrap;
use crate::cache::{Feed, RingBounds};
use crate::compactor;
use crate::config::ServerConfig;
use crate::core::{Core, Foundation};
use crate::encryption::Vault;
use crate::flow::keeper;
use crate::http_face::{self, BindError, Listener, TlsError};
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::types::Assembly;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Certificates.
    #[error("setting up TLS")]
    Tls(#[from] TlsError),
    /// Metrics are registered twice.
    #[error("registering metrics")]
    Metrics(#[from] prometheus::Error),
    /// The gates or endpoints.
    #[error("putting the server together")]
    Assembly(#[from] bootstrap::AssembleError),
    /// The first objects.
    #[error("creating the first objects")]
    Seed(#[from] bootstrap::SeedError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] LogError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] BackingError),
    /// The cache did not load.
    #[error("the cache ended before it had loaded the stored objects")]
    CacheEnded,
}

/// A running server. It ends with the tasks it was started under. A cheap handle.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
    addr: SocketAddr,
    admission_plugins: Vec<&'static str>,
}

impl ApiServer {
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// What `/readyz` says, for callers in this process.
    pub async fn is_ready(&self) -> bool {
        crate::front::is_ready(&self.core).await
    }

    /// Says from now on that it is not ready, and serves on: load balancers get time to look elsewhere before the tasks
    /// it was started under end.
    pub fn announce_shutdown(&self) {
        self.core.leaving.cancel();
    }

    /// The steps of admission by upstream's names, in the order in which they run; after them those of our own. Empty where
    /// the gates are the caller's.
    pub fn admission_plugins(&self) -> &[&'static str] {
        &self.admission_plugins
    }

    /// The stored objects.
    pub fn registry(&self) -> &Registry {
        &self.core.registry
    }
}

/// Starts a server with all gates, endpoints and first objects. It serves when this returns.
///
/// # Errors
/// [`StartError`].
pub async fn start(
    config: ServerConfig,
    store: impl Into<Backing>,
    tasks: Tasks,
) -> Result<ApiServer, StartError> {
    let base = Base::open(&config, store.into(), &tasks, Source::Fresh).await?;
    let (mut assembly, mut gates) = bootstrap::assemble(&config, &base.registry, &tasks)?;
    // The port is taken before the first objects name it; clients wait in the backlog until it is served.
    let listener = Listener::bind(config.bind).await?;
    let reached_at = SocketAddr::new(config.advertise, listener.local_addr().port());
    assembly.endpoints.extend(config.endpoints.iter().cloned());
    let seeded = gates.seed(reached_at).await?;
    let admission_plugins = gates.admission_plugins().to_vec();
    gates.spawn(seeded, reached_at, &tasks);
    Ok(ApiServer { admission_plugins, ..base.serve(config, assembly, listener, &tasks)? })
}

/// Starts a server over this server's own copy of the store, which writes nothing by itself: for a member whose others do not answer
/// since it was started. Reads are answered, with a warning, where an administrator allows that; other requests are refused for want of a
/// quorum, and all of them by the rights that the copy knows. It serves when this returns; the real one is started once there is a quorum, after this one has ended.
///
/// # Errors
/// [`StartError`].
pub async fn start_stale(config: ServerConfig, store: Store, tasks: Tasks) -> Result<ApiServer, StartError> {
    let base = Base::open(&config, store.into(), &tasks, Source::Own).await?;
    let (mut assembly, gates) = bootstrap::assemble(&config, &base.registry, &tasks)?;
    let listener = Listener::bind(config.bind).await?;
    let reached_at = SocketAddr::new(config.advertise, listener.local_addr().port());
    assembly.endpoints.extend(config.endpoints.iter().cloned());
    gates.read_only(reached_at, &tasks).await?;
    base.serve(config, assembly, listener, &tasks)
}

/// Starts a server with gates of the caller's and no first objects: for tests and benches.
///
/// # Errors
/// [`StartError`].
pub async fn start_with(
    config: ServerConfig,
    store: impl Into<Backing>,
    tasks: Tasks,
    assemble: impl FnOnce(&Registry) -> Assembly,
) -> Result<ApiServer, StartError> {
    let base = Base::open(&config, store.into(), &tasks, Source::Fresh).await?;
    let gates = assemble(&base.registry);
    let listener = Listener::bind(config.bind).await?;
    base.serve(config, gates, listener, &tasks)
}

/// A refusal as an error that tasks can report.
async fn logged(run: impl Future<Output = Result<(), Status>>) -> Result<(), String> {
    run.await.map_err(|status| status.message)
}

/// Which copy of the store the caches are of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// One that has everything that was acknowledged anywhere.
    Fresh,
    /// What the member in this process has.
    Own,
}

/// The server up to its caches.
struct Base {
    registry: Registry,
    metrics: Metrics,
    /// Ends the cache when it is dropped.
    drained: DropGuard,
}

impl Base {
    async fn open(
        config: &ServerConfig,
        store: Backing,
        tasks: &Tasks,
        source: Source,
    ) -> Result<Self, StartError> {
        let kinds = mainstay_apiserver_kinds::all();
        let metrics = Metrics::register(&config.metrics)?;
        if let Some(tracer) = &config.tracer {
            tracer.register(&config.metrics)?;
        }
        let limits = &config.limits;
        let bounds = RingBounds { events_max: limits.ring_events_max, bytes_max: limits.ring_bytes_max };
        let (clock, random) = (&config.clock, &config.randomness);
        let vault = Vault::open(config.encryption.as_ref(), clock, random, tasks).await;
        let feed = Feed::new(store.clone(), kinds, bounds, metrics.undecodable.clone(), vault);
        let feed = if source == Source::Own { feed.of_own_copy() } else { feed };
        let loaded = feed.loaded();
        let bounds = (limits.object_bytes_max, limits.event_ttl);
        let reads = (config.stale_reads, Arc::clone(clock));
        let registry = Registry::new(store, &feed, kinds, bounds, reads);
        // The cache goes on until the last request is answered, or the start fails.
        let drained = CancellationToken::new();
        let stop = drained.clone();
        let ended = stop.child_token();
        let guard = ended.clone().drop_guard();
        tasks.spawn("cache", async move {
            let _ended = guard;
            feed.run(stop).await
        });
        let filled = async {
            match source {
                Source::Fresh => registry.store().reach(registry.progress(), None).await,
                Source::Own => {
                    loaded.cancelled().await;
                    Ok(())
                }
            }
        };
        tokio::select! {
            biased;
            filled = filled => filled?,
            () = ended.cancelled() => return Err(StartError::CacheEnded),
        }
        let drained = drained.drop_guard();
        if source == Source::Own {
            return Ok(Self { registry: registry.unconfirmed(), metrics, drained });
        }
        tasks.spawn("compactor", compactor::run(registry.store().clone(), limits.history, tasks.token()));
        Ok(Self { registry, metrics, drained })
    }

    fn serve(
        self,
        config: ServerConfig,
        assembly: Assembly,
        listener: Listener,
        tasks: &Tasks,
    ) -> Result<ApiServer, StartError> {
        let proxies = config.authentication.front_proxy.as_ref().map(|proxy| proxy.ca_pem.clone());
        let (serving, clients) = (config.serving, config.client_ca_pem);
        let shown = http_face::Shown { serving, clients, proxies: proxies.unwrap_or_default() };
        let (acceptor, reload) = http_face::acceptor(shown, tasks.token())?;
        let addr = listener.local_addr();
        let kinds = self.registry.served().clone();
        let (clock, audit) = (Arc::clone(&config.clock), self.metrics.audit.clone());
        let auditor = config.audit.map(|audited| Auditor::open(audited, kinds, audit, clock, tasks));
        let foundation = Foundation {
            registry: self.registry,
            limits: config.limits,
            clock: config.clock,
            randomness: config.randomness,
            metrics: self.metrics,
            auditor: auditor.transpose()?.map(Arc::new),
            tracer: config.tracer,
            stop: tasks.token(),
        };
        let core = Arc::new(Core::new(foundation, assembly));
        let (control, registry) = (core.flow.control.clone(), core.registry.clone());
        keeper::load(&control, &registry);
        tasks.spawn("flow-control", logged(keeper::keep(control, registry, tasks.token())));
        tasks.spawn("readiness", crate::front::run_beats(Arc::clone(&core)));
        tasks.spawn("serving certificate", reload);
        let (serving, drained) = (listener.run(Arc::clone(&core), acceptor), self.drained);
        tasks.spawn("http", async move {
            serving.await;
            drop(drained);
        });
        info!(%addr, "API server listens");
        Ok(ApiServer { core, addr, admission_plugins: Vec::new() })
    }
}
