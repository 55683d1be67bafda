//! The one place that chooses what runs in this process and joins the parts over their seams.

mod alone;
mod store;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as NodeObject;
use mainstay_agents_kit::informer::{Filter, Informers, Reader};
use mainstay_agents_kit::leader::{Election, Timings, identity};
use mainstay_agents_kit::servers::{Readiness, Servers};
use mainstay_apiserver_server::ApiServer;
use mainstay_apiserver_server::config::{
    AdmissionConfig, FrontProxy, KubeletClient, Limits, ServerConfig, ServiceAccountKeys, SystemRandomness,
};
use mainstay_base::lifecycle::{Clock, SystemClock, Tasks};
use mainstay_base::pki::Leaf;
use mainstay_base::telemetry::trace::Tracer;
use mainstay_runtime::Runtime;
use mainstay_store::Store;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::store::open_store;
use crate::authority::{AuthorityDesk, Followed, follow};
use crate::cluster_objects;
use crate::config::{Cluster, Config, run_dir, service_table};
use crate::data_dir::DataDir;
use crate::identities::Identities;
use crate::join::Desk;
use crate::renewal::{Shown, run_renewal};
use crate::snapshots::{ScheduleState, SnapshotDesk, SnapshotMeters, note_moments, run_schedule};
use crate::status::StatusDesk;
use crate::token::{Class, printed_at_start};
use crate::traces::{self, TracesConfig};
use crate::up::print_line;
use crate::{encryption, mandate, notices, stale_reads, store_metrics};

const CLUSTER_DOMAIN: &str = "cluster.local";
/// Who issues service account tokens.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(365 * 86_400);
const STOP_GRACE: Duration = Duration::from_secs(10);
/// The Kubernetes version whose behaviour the node agent follows.
const KUBELET_VERSION: &str = "v1.37.0";

/// Everything that a server runs.
pub(crate) struct Node {
    store: Store,
    api: ApiServer,
    api_tasks: Tasks,
    agent_tasks: Tasks,
    /// Ends last: the others' last spans are sent by it.
    trace_tasks: Tasks,
    admin: kube::Client,
    /// None on a server that runs no pods.
    pods: Option<RunningNode>,
    /// How long the API server serves on after it was told to end.
    shutdown_delay: Duration,
}

/// The parts that make a machine a node.
pub(crate) struct RunningNode {
    nodes: Reader<NodeObject>,
}

impl RunningNode {
    /// Waits until the Node object says Ready.
    pub(crate) async fn ready(&self) {
        let mut changed = self.nodes.changed();
        while !self.nodes.list().iter().any(|node| is_ready(node)) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Node {
    /// Starts every part, in the order in which they need each other; none if `stopped` comes first: a server waits for others as long as it
    /// takes, and it must be possible to end it meanwhile.
    ///
    /// # Errors
    /// The first part that could not start. What did start has ended, the store too.
    pub(crate) async fn start(
        config: &Config,
        identities: &Identities,
        dir: &DataDir,
        stopped: Pin<&mut impl Future<Output = anyhow::Result<()>>>,
    ) -> anyhow::Result<Option<Self>> {
        let stop = CancellationToken::new();
        let parts = Parts {
            api_tasks: Tasks::new("apiserver", stop.clone()),
            // Ends before the API server does: leases are given up through it.
            agent_tasks: Tasks::new("agents", stop.child_token()),
            trace_tasks: Tasks::new("traces", CancellationToken::new()),
            config,
            identities,
            dir,
            store: OnceLock::new(),
        };
        let started = tokio::select! {
            biased;
            stopped = stopped => stopped.map(|()| None),
            started = Box::pin(parts.start()) => started.map(Some),
        };
        let started = match started {
            Err(failed) => Err(parts.why(failed).await),
            started => started,
        };
        if !matches!(started, Ok(Some(_))) {
            parts.end().await; // what did start must not log its own end as trouble
        }
        started
    }

    /// Waits until the Node object says Ready and the API server serves.
    pub(crate) async fn ready(&self) {
        tracing::debug!(address = %self.api.local_addr(), "waiting for the node");
        if let Some(node) = &self.pods {
            node.ready().await;
        }
    }

    /// Tells the service manager that the node serves; it lives as long as its API server answers.
    pub(crate) fn tell_ready(&self) {
        let admin = self.admin.clone();
        notices::ready(&self.agent_tasks, move || {
            let admin = admin.clone();
            async move { admin.apiserver_version().await.is_ok() }
        });
    }

    /// Gives this server's node, if it has one, its role. It is only shown, so that a start goes on where it cannot be given.
    pub(crate) async fn mark_as_server(&self, config: &Config) {
        if self.pods.is_some()
            && let Err(error) = cluster_objects::mark_as_server(&self.admin, &config.cluster.node_name).await
        {
            tracing::warn!(error = format!("{error:#}"), "the node is not marked as a server");
        }
    }

    /// Prints how other machines join.
    ///
    /// # Errors
    /// The tokens cannot be made.
    pub(crate) async fn print_join_commands(
        &self,
        config: &Config,
        identities: &Identities,
    ) -> anyhow::Result<()> {
        let server = SocketAddr::new(config.node_ip, config.bind.port());
        for class in [Class::Server, Class::Agent] {
            let now = SystemClock.wall();
            let token = printed_at_start(&self.admin, &identities.ca_pem, class, now).await?;
            print_line(&format!("mainstay {} --join https://{server} --token {token}", class.name()))?;
        }
        Ok(())
    }

    /// Resolves when the store stops by itself, with why it did: a disk that failed, or a cluster that goes on without this server.
    pub(crate) async fn halted(&self) -> anyhow::Error {
        self.store.stopped().await;
        match self.store.members(false).await {
            Err(why) => anyhow::Error::new(why),
            Ok(_) => anyhow::anyhow!("the store stopped"),
        }
    }

    /// Ends every part in order: agents, API server, store.
    ///
    /// # Errors
    /// The store could not be closed cleanly.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.api.announce_shutdown();
        tokio::time::sleep(self.shutdown_delay).await;
        end(&[&self.agent_tasks, &self.api_tasks]).await;
        let closed = self.store.close().await.context("closing the store");
        end(&[&self.trace_tasks]).await;
        closed
    }
}

/// What a start needs, so that it can be undone half-way.
struct Parts<'a> {
    api_tasks: Tasks,
    agent_tasks: Tasks,
    trace_tasks: Tasks,
    config: &'a Config,
    identities: &'a Identities,
    dir: &'a DataDir,
    /// Once it is open. Left open, its threads would still run while the process ends, and find their locks gone.
    store: OnceLock<Store>,
}

impl Parts<'_> {
    async fn start(&self) -> anyhow::Result<Node> {
        let Self { api_tasks, agent_tasks, trace_tasks, config, identities, dir, store: opened } = self;
        let tracer = tracer(config, trace_tasks)?;
        let runs_pods = config.member.as_ref().is_none_or(|member| member.runs_agent);
        let runtime = async {
            if runs_pods { open_runtime(&config.cluster, dir, agent_tasks).await.map(Some) } else { Ok(None) }
        };
        let store = async {
            let store = open_store(config, dir, tracer.as_ref()).await?;
            let store = opened.get_or_init(|| store).clone();
            if let Some(member) = &config.member {
                self.meet_others(&store, member).await?;
            }
            Ok(store)
        };
        let (store, runtime) = tokio::try_join!(store, runtime)?;
        let shown = Shown::new(config, identities).await?;
        let schedule = watch::Sender::new(None);
        let mut server_config = self.server_config(&store, &shown, schedule.subscribe())?;
        server_config.tracer = tracer;
        let meters = SnapshotMeters::register(&server_config.metrics)?;
        let (data_dir, name) = (config.data_dir.clone(), config.cluster.node_name.clone());
        let desk = AuthorityDesk { store: store.clone(), data_dir: data_dir.clone(), name: name.clone() };
        server_config.endpoints.extend(desk.endpoints());
        let api = mainstay_apiserver_server::start(server_config, store.clone(), api_tasks.clone())
            .await
            .context("starting the API server")?;
        let (admin, pods) = start_agents(self, &shown, (&store, &api), runtime).await?;
        let (news, standing) = (watch::Sender::new(()), shown.standing());
        run_renewal(shown, (*config).clone(), news.subscribe(), Arc::new(SystemClock), agent_tasks)?;
        let (store_here, client, stage) = (store.clone(), admin.clone(), String::new());
        let followed = Followed { store: store_here, data_dir, name, standing, client, news, stage };
        follow(followed, agent_tasks);
        note_moments(store.clone(), Arc::new(SystemClock), agent_tasks);
        if let Some(settings) = config.member.as_ref().and_then(|member| member.snapshots.clone()) {
            let of = (config.data_dir.clone(), config.cluster.clone());
            run_schedule(settings, store.clone(), of, Arc::new(SystemClock), (schedule, meters), agent_tasks);
        }
        let (api_tasks, agent_tasks) = (api_tasks.clone(), agent_tasks.clone());
        let shutdown_delay = config.api_server.shutdown_delay;
        let trace_tasks = trace_tasks.clone();
        Ok(Node { store, api, api_tasks, agent_tasks, trace_tasks, admin, pods, shutdown_delay })
    }

    /// The API server's settings, with this server's own endpoints.
    fn server_config(
        &self,
        store: &Store,
        shown: &Shown,
        schedule: watch::Receiver<Option<ScheduleState>>,
    ) -> anyhow::Result<ServerConfig> {
        let config = self.config;
        let mut server_config = server_config(config, self.identities, self.dir, shown)?;
        server_config.endpoints = desk(config, store).endpoints();
        server_config.endpoints.push(store_metrics::endpoint(store.clone()));
        server_config.endpoints.push(snapshot_desk(config, store).endpoint());
        server_config.endpoints.push(stale_reads::endpoint());
        server_config.endpoints.push(status_desk(config, store, schedule).endpoint());
        Ok(server_config)
    }

    async fn end(&self) {
        end(&[&self.agent_tasks, &self.api_tasks, &self.trace_tasks]).await;
        if let Some(store) = self.store.get()
            && let Err(error) = store.close().await
        {
            warn!(%error, "the store was not closed cleanly");
        }
    }
}

/// Ends groups of tasks, one after the other.
pub(crate) async fn end(groups: &[&Tasks]) {
    for tasks in groups {
        if let Err(names) = tasks.close_and_join(STOP_GRACE).await {
            warn!(?names, "tasks did not end in time");
        }
    }
}

/// What this server answers machines that join.
fn desk(config: &Config, store: &Store) -> Desk {
    let own = config.api_server.encryption.is_none().then_some(encryption::FILE);
    let closed = config.member.is_none().then(|| {
        "this server runs by `mainstay up`, alone: stop it and start it again with `mainstay server`"
            .to_owned()
    });
    let server = SocketAddr::new(config.node_ip, config.bind.port());
    let (cluster, data_dir) = (config.cluster.clone(), config.data_dir.clone());
    Desk { store: store.clone(), cluster, server, data_dir, own, closed }
}

/// What this server answers administrators who save a snapshot.
fn snapshot_desk(config: &Config, store: &Store) -> SnapshotDesk {
    SnapshotDesk { store: store.clone(), data_dir: config.data_dir.clone(), cluster: config.cluster.clone() }
}

/// What this server tells of itself.
fn status_desk(
    config: &Config,
    store: &Store,
    snapshots: watch::Receiver<Option<ScheduleState>>,
) -> StatusDesk {
    let (data_dir, name) = (config.data_dir.clone(), config.cluster.node_name.clone());
    StatusDesk { store: store.clone(), name, data_dir, snapshots, clock: Arc::new(SystemClock) }
}

/// The runtime of this machine's containers.
///
/// # Errors
/// It cannot be opened.
pub(crate) async fn open_runtime(
    cluster: &Cluster,
    dir: &DataDir,
    tasks: &Tasks,
) -> anyhow::Result<Arc<Runtime>> {
    let runtime = Runtime::open(runtime_config(cluster, &dir.join("runtime")), tasks).await;
    runtime.context("opening the container runtime")
}

/// The runtime's settings; `down` and `image` use the same.
pub(crate) fn runtime_config(cluster: &Cluster, dir: &Path) -> mainstay_runtime::Config {
    let mut runtime =
        mainstay_runtime::Config::new(dir.to_owned(), run_dir(&cluster.id), &cluster.id, cluster.pod_cidr());
    runtime.cluster_cidr = cluster.cluster_cidr;
    runtime.host_routes = vec![cluster.service_cidr];
    runtime
}

/// Where the API server's requests are traced to, if they are. The spans are sent by `tasks`, which must end last.
///
/// # Errors
/// The collector's address is none.
pub(crate) fn tracer(config: &Config, tasks: &Tasks) -> anyhow::Result<Option<Tracer>> {
    let Some(traces) = &config.api_server.traces else { return Ok(None) };
    let instance = Some(config.cluster.node_name.clone());
    traces::start(&TracesConfig { instance, ..traces.clone() }, tasks).map(Some)
}

/// The API server's settings.
pub(crate) fn server_config(
    config: &Config,
    identities: &Identities,
    dir: &DataDir,
    shown: &Shown,
) -> anyhow::Result<ServerConfig> {
    let metrics = prometheus::Registry::new();
    mainstay_base::telemetry::process_metrics(&metrics).context("registering process metrics")?;
    Ok(ServerConfig {
        bind: config.bind,
        advertise: config.node_ip,
        serving: shown.serving(),
        client_ca_pem: shown.trusted(),
        service_account: ServiceAccountKeys {
            signing_key_pem: identities.service_account_key_pem.clone().into_bytes(),
            verification_keys_pem: Vec::new(),
            issuer: ISSUER.to_owned(),
            audiences: vec![ISSUER.to_owned()],
            expiration_max: TOKEN_LIFETIME_MAX,
        },
        kubelet: KubeletClient { identity: shown.kubelet_client(), ca_pem: shown.trusted() },
        front_proxy: Some(FrontProxy { identity: shown.front_proxy(), ca_pem: shown.front_proxy_trusted() }),
        service_cidr: IpNet::V4(config.cluster.service_cidr),
        cluster_cidr: Some(IpNet::V4(config.cluster.cluster_cidr)),
        node_ports: 30_000..=32_767,
        authorization: config.api_server.authorization.clone(),
        anonymous: true, // upstream's default; RBAC gives it health and version only
        admission: AdmissionConfig::default(),
        encryption: Some(encryption::configured(config, dir)?),
        authentication: config.api_server.authentication.clone(),
        audit: config.api_server.audit.clone(),
        endpoints: Vec::new(),
        stale_reads: config.member.as_ref().is_some_and(|member| member.stale_reads),
        tracer: None,
        limits: Limits::default(),
        clock: Arc::new(SystemClock),
        randomness: Arc::new(SystemRandomness),
        metrics,
    })
}

/// Starts scheduler, controllers, node agent and proxy, each with its own identity.
async fn start_agents(
    parts: &Parts<'_>,
    shown: &Shown,
    (store, api): (&Store, &ApiServer),
    runtime: Option<Arc<Runtime>>,
) -> anyhow::Result<(kube::Client, Option<RunningNode>)> {
    let Parts { config, dir, agent_tasks: tasks, .. } = parts;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let scheduler = shown.client("kube-scheduler")?;
    let controllers = shown.client("kube-controller-manager")?;
    let elections = config.member.is_some().then(|| (mandate::follow(store, tasks), clock.now()));
    start_loops("kube-scheduler", scheduler, elections.clone(), config, tasks, |client, tasks| {
        mainstay_agents_scheduler::run(mainstay_agents_scheduler::Config::default(), client, tasks);
    });
    let settings = controllers_config(config, shown);
    start_loops("kube-controller-manager", controllers, elections, config, tasks, move |client, tasks| {
        mainstay_agents_controllers::run(settings.clone(), client, tasks);
    });
    let admin = shown.client("mainstay")?;
    cluster_objects::ensure(&admin, &config.cluster).await?;
    let Some(runtime) = runtime else {
        // No pods here, but the API server calls webhooks and extension servers that run on nodes. While it is not ready it calls nobody.
        let informers = Informers::new(shown.client("kube-proxy")?, tasks.clone(), clock);
        mainstay_agents_proxy::routes::spawn("", config.cluster.cluster_cidr, &informers, tasks);
        return Ok((admin, None));
    };
    let (node, proxy) = node_clients(config, shown, api, &clock, tasks)?;
    let parts = NodeParts {
        cluster: &config.cluster,
        node_ip: config.node_ip,
        dir,
        trusted: shown.trusted(),
        serving: shown.kubelet(),
        node_client: node,
        proxy_client: proxy,
        clock,
    };
    Ok((admin, Some(Box::pin(start_node(&parts, runtime, tasks)).await?)))
}

/// The clients of the node agent and the proxy. Where there are several servers, they use another one while this machine's own
/// is not ready: the node stays in the cluster (docs/decisions/0045).
fn node_clients(
    config: &Config,
    shown: &Shown,
    api: &ApiServer,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
) -> anyhow::Result<(kube::Client, kube::Client)> {
    if config.member.is_none() {
        return Ok((shown.client("kubelet")?, shown.client("kube-proxy")?));
    }
    let api = api.clone();
    let ready: Readiness = Arc::new(move || {
        let api = api.clone();
        Box::pin(async move { api.is_ready().await })
    });
    let servers = Servers::new(vec![config.own_server()]).context("choosing an API server")?.at_home(ready);
    let proxy = shown.settings("kube-proxy")?;
    servers.watch_over(&proxy, Arc::clone(clock), tasks).context("following the API servers")?;
    let client = |settings| servers.renewing_client(settings).context("making the API client of this node");
    Ok((client(&shown.settings("kubelet")?)?, client(&proxy)?))
}

/// Starts loops that only one process of a cluster may run: at once where there is one process, else when it is elected, in an election with
/// this mandate and base.
fn start_loops(
    name: &'static str,
    client: kube::Client,
    elections: Option<(watch::Receiver<bool>, Instant)>,
    config: &Config,
    tasks: &Tasks,
    run: impl Fn(kube::Client, &Tasks) + Send + Sync + 'static,
) {
    let Some((mandate, base)) = elections else {
        run(client, tasks);
        return;
    };
    let election = Election {
        name,
        identity: identity(&config.cluster.node_name),
        mandate,
        client: client.clone(),
        timings: Timings::default(),
        base,
        clock: Arc::new(SystemClock),
    };
    election.run(tasks, Arc::new(move |term: &Tasks| run(client.clone(), term)));
}

fn controllers_config(config: &Config, shown: &Shown) -> mainstay_agents_controllers::Config {
    let usual = mainstay_agents_controllers::Config::new(shown.trusted());
    mainstay_agents_controllers::Config {
        signing: Some(shown.signing()),
        cluster_cidr: Some(config.cluster.cluster_cidr),
        node_grace: config.member.as_ref().map_or(usual.node_grace, |member| member.node_grace),
        ..usual
    }
}

/// What makes a machine a node.
pub(crate) struct NodeParts<'a> {
    /// The cluster, and this node's part of its addresses.
    pub(crate) cluster: &'a Cluster,
    /// The node's address.
    pub(crate) node_ip: IpAddr,
    /// The data directory.
    pub(crate) dir: &'a DataDir,
    /// The cluster's authorities, PEM.
    pub(crate) trusted: watch::Receiver<String>,
    /// What the node's own server shows.
    pub(crate) serving: watch::Receiver<Leaf>,
    /// As the node itself.
    pub(crate) node_client: kube::Client,
    /// As one who may read Services, EndpointSlices and Nodes.
    pub(crate) proxy_client: kube::Client,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
}

/// Starts the node agent and the proxy.
///
/// # Errors
/// The first part that could not start.
pub(crate) async fn start_node(
    parts: &NodeParts<'_>,
    runtime: Arc<Runtime>,
    tasks: &Tasks,
) -> anyhow::Result<RunningNode> {
    let informers = Informers::new(parts.node_client.clone(), tasks.clone(), Arc::clone(&parts.clock));
    let own = Filter::fields(format!("metadata.name={}", parts.cluster.node_name));
    let nodes = informers.filtered::<NodeObject>(own);
    mainstay_agents_node::run(
        node_config(parts),
        parts.node_client.clone(),
        runtime.clone(),
        runtime.clone(),
        runtime,
        tasks,
    )
    .await
    .context("starting the node agent")?;
    mainstay_agents_proxy::run(&proxy_config(parts), parts.proxy_client.clone(), tasks)
        .context("starting the proxy")?;
    Ok(RunningNode { nodes })
}

fn node_config(parts: &NodeParts<'_>) -> mainstay_agents_node::Config {
    let cluster = parts.cluster;
    let mut node = mainstay_agents_node::Config::new(cluster.node_name.clone(), parts.dir.join("node"));
    node.node_ips = vec![parts.node_ip];
    node.bind = SocketAddr::new(parts.node_ip, 0);
    node.serving = parts.serving.clone();
    node.client_ca_pem = parts.trusted.clone();
    node.cluster_dns = vec![IpAddr::V4(cluster.dns_service_ip())];
    CLUSTER_DOMAIN.clone_into(&mut node.cluster_domain);
    node.cgroup_root = format!("/mainstay-{}/kubepods", cluster.id);
    node.pod_cidr = Some(cluster.pod_cidr().to_string());
    node.kubelet_version = format!("{KUBELET_VERSION}+mainstay-{}", mainstay_base::version());
    node
}

fn proxy_config(parts: &NodeParts<'_>) -> mainstay_agents_proxy::Config {
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    mainstay_agents_proxy::Config {
        table: service_table(&parts.cluster.id),
        node_name: parts.cluster.node_name.clone(),
        cluster_cidr: parts.cluster.cluster_cidr,
        dns_bind: SocketAddr::new(IpAddr::V4(parts.cluster.gateway()), 53),
        dns_domain: CLUSTER_DOMAIN.to_owned(),
        dns_upstreams: upstreams(&resolv_conf),
        clock: Arc::clone(&parts.clock),
    }
}

/// The machine's own resolvers, in order.
fn upstreams(resolv_conf: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    };
    resolv_conf.lines().filter_map(address).map(|ip| SocketAddr::new(ip, 53)).collect()
}

fn is_ready(node: &NodeObject) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_in_order() {
        let text = "# a comment\nsearch x\nnameserver 192.0.2.1\nnameserver bad\nnameserver ::1\n";
        let found: Vec<_> = upstreams(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[::1]:53"]);
    }
}
