//! The one place that chooses what runs in this process and joins the parts over their seams.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as NodeObject;
use mainstay_agents_kit::informer::{Filter, Informers, Reader};
use mainstay_apiserver_server::ApiServer;
use mainstay_apiserver_server::config::{
    AdmissionConfig, FrontProxy, KubeletClient, Limits, PemPair, ServerConfig, ServiceAccountKeys,
    SystemRandomness,
};
use mainstay_base::lifecycle::{Clock, SystemClock, Tasks};
use mainstay_base::pki::Leaf;
use mainstay_runtime::Runtime;
use mainstay_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clients::{ApiEndpoint, connect};
use crate::cluster_objects;
use crate::config::{Cluster, Config, run_dir, service_table};
use crate::data_dir::DataDir;
use crate::encryption;
use crate::identities::Identities;

const CLUSTER_DOMAIN: &str = "cluster.local";
/// Who issues service account tokens.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(365 * 86_400);
const STOP_GRACE: Duration = Duration::from_secs(10);
/// The Kubernetes version whose behaviour the node agent follows.
const KUBELET_VERSION: &str = concat!("v1.37.0+mainstay-", env!("CARGO_PKG_VERSION"));

/// Everything that `mainstay up` runs.
pub(crate) struct Node {
    store: Store,
    api: ApiServer,
    api_tasks: Tasks,
    agent_tasks: Tasks,
    nodes: Reader<NodeObject>,
    /// How long the API server serves on after it was told to end.
    shutdown_delay: Duration,
    /// Kept so that the API server's certificate channel stays open.
    _serving: watch::Sender<PemPair>,
}

impl Node {
    /// Starts every part, in the order in which they need each other.
    ///
    /// # Errors
    /// The first part that could not start.
    pub(crate) async fn start(
        config: &Config,
        identities: &Identities,
        dir: &DataDir,
    ) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let parts = Parts {
            api_tasks: Tasks::new("apiserver", stop.clone()),
            agent_tasks: Tasks::new("agents", stop),
            config,
            identities,
            dir,
        };
        let started = parts.start().await;
        if started.is_err() {
            parts.end().await; // what did start must not log its own end as trouble
        }
        started
    }

    /// Waits until the Node object says Ready and the API server serves.
    pub(crate) async fn ready(&self) {
        tracing::debug!(address = %self.api.local_addr(), "waiting for the node");
        let mut changed = self.nodes.changed();
        while !self.nodes.list().iter().any(|node| is_ready(node)) {
            if changed.changed().await.is_err() {
                return;
            }
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
        self.store.close().await.context("closing the store")
    }
}

/// What a start needs, so that it can be undone half-way.
struct Parts<'a> {
    api_tasks: Tasks,
    agent_tasks: Tasks,
    config: &'a Config,
    identities: &'a Identities,
    dir: &'a DataDir,
}

impl Parts<'_> {
    async fn start(&self) -> anyhow::Result<Node> {
        let Self { api_tasks, agent_tasks, config, identities, dir } = self;
        let (store, runtime) = tokio::try_join!(open_store(dir), open_runtime(config, dir, agent_tasks))?;
        let (serving, receiver) = watch::channel(pem_pair(&identities.apiserver));
        let server_config = server_config(config, identities, dir, receiver)?;
        let api = mainstay_apiserver_server::start(server_config, store.clone(), api_tasks.clone())
            .await
            .context("starting the API server")?;
        let nodes = start_agents(config, identities, dir, agent_tasks, runtime).await?;
        let (api_tasks, agent_tasks) = (api_tasks.clone(), agent_tasks.clone());
        let shutdown_delay = config.api_server.shutdown_delay;
        Ok(Node { store, api, api_tasks, agent_tasks, nodes, shutdown_delay, _serving: serving })
    }

    async fn end(&self) {
        end(&[&self.agent_tasks, &self.api_tasks]).await;
    }
}

async fn end(groups: &[&Tasks]) {
    for tasks in groups {
        if let Err(names) = tasks.close_and_join(STOP_GRACE).await {
            warn!(?names, "tasks did not end in time");
        }
    }
}

async fn open_store(dir: &DataDir) -> anyhow::Result<Store> {
    let config = mainstay_store::Config { dir: dir.join("store"), ..mainstay_store::Config::default() };
    Store::open(config).await.context("opening the store")
}

async fn open_runtime(config: &Config, dir: &DataDir, tasks: &Tasks) -> anyhow::Result<Arc<Runtime>> {
    let runtime = Runtime::open(runtime_config(&config.cluster, &dir.join("runtime")), tasks).await;
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

/// The API server's settings.
pub(crate) fn server_config(
    config: &Config,
    identities: &Identities,
    dir: &DataDir,
    serving: watch::Receiver<PemPair>,
) -> anyhow::Result<ServerConfig> {
    let metrics = prometheus::Registry::new();
    mainstay_base::telemetry::process_metrics(&metrics).context("registering process metrics")?;
    Ok(ServerConfig {
        bind: config.bind,
        advertise: config.node_ip,
        serving,
        client_ca_pem: identities.ca_pem.clone().into_bytes(),
        server_ca_pem: identities.ca_pem.clone().into_bytes(),
        service_account: ServiceAccountKeys {
            signing_key_pem: identities.service_account_key_pem.clone().into_bytes(),
            verification_keys_pem: Vec::new(),
            issuer: ISSUER.to_owned(),
            audiences: vec![ISSUER.to_owned()],
            expiration_max: TOKEN_LIFETIME_MAX,
        },
        kubelet: KubeletClient {
            identity: pem_pair(&identities.kubelet_client),
            ca_pem: identities.ca_pem.clone().into_bytes(),
        },
        front_proxy: Some(FrontProxy {
            identity: pem_pair(&identities.front_proxy),
            ca_pem: identities.front_proxy_ca_pem.clone().into_bytes(),
        }),
        service_cidr: IpNet::V4(config.cluster.service_cidr),
        cluster_cidr: Some(IpNet::V4(config.cluster.cluster_cidr)),
        node_ports: 30_000..=32_767,
        authorization: config.api_server.authorization.clone(),
        anonymous: true, // upstream's default; RBAC gives it health and version only
        admission: AdmissionConfig::default(),
        encryption: Some(encryption::configured(config, dir)?),
        authentication: config.api_server.authentication.clone(),
        audit: config.api_server.audit.clone(),
        limits: Limits::default(),
        clock: Arc::new(SystemClock),
        randomness: Arc::new(SystemRandomness),
        metrics,
    })
}

pub(crate) fn pem_pair(leaf: &Leaf) -> PemPair {
    PemPair {
        cert_pem: leaf.certificate_pem.clone().into_bytes(),
        key_pem: leaf.key_pem.clone().into_bytes(),
    }
}

/// Starts scheduler, controllers, node agent and proxy, each with its own identity.
async fn start_agents(
    config: &Config,
    identities: &Identities,
    dir: &DataDir,
    tasks: &Tasks,
    runtime: Arc<Runtime>,
) -> anyhow::Result<Reader<NodeObject>> {
    let url = config.api_url();
    let endpoint = ApiEndpoint { url: &url, ca_pem: &identities.ca_pem };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);

    let node = connect(&endpoint, "kubelet", &identities.node).await?;
    let informers = Informers::new(node.clone(), tasks.clone(), Arc::clone(&clock));
    let own = Filter::fields(format!("metadata.name={}", config.cluster.node_name));
    let nodes = informers.filtered::<NodeObject>(own);
    mainstay_agents_node::run(
        node_config(config, identities, dir),
        node,
        runtime.clone(),
        runtime.clone(),
        runtime,
        tasks,
    )
    .await
    .context("starting the node agent")?;

    let scheduler = connect(&endpoint, "kube-scheduler", &identities.scheduler).await?;
    mainstay_agents_scheduler::run(mainstay_agents_scheduler::Config::default(), scheduler, tasks);
    let controllers = connect(&endpoint, "kube-controller-manager", &identities.controllers).await?;
    mainstay_agents_controllers::run(
        mainstay_agents_controllers::Config {
            signing: Some(mainstay_agents_controllers::Authority {
                certificate_pem: identities.ca_pem.clone(),
                key_pem: identities.ca_key_pem.clone(),
            }),
            ..mainstay_agents_controllers::Config::new(identities.ca_pem.clone())
        },
        controllers,
        tasks,
    );
    let admin = connect(&endpoint, "mainstay", &identities.admin).await?;
    cluster_objects::ensure(&admin, &config.cluster).await?;
    let proxy = connect(&endpoint, "kube-proxy", &identities.proxy).await?;
    mainstay_agents_proxy::run(&proxy_config(config, clock), proxy, tasks).context("starting the proxy")?;
    Ok(nodes)
}

fn node_config(config: &Config, identities: &Identities, dir: &DataDir) -> mainstay_agents_node::Config {
    let mut node = mainstay_agents_node::Config::new(config.cluster.node_name.clone(), dir.join("node"));
    node.node_ips = vec![config.node_ip];
    node.bind = SocketAddr::new(config.node_ip, 0);
    node.serving_cert_pem.clone_from(&identities.kubelet_server.certificate_pem);
    node.serving_key_pem.clone_from(&identities.kubelet_server.key_pem);
    node.client_ca_pem.clone_from(&identities.ca_pem);
    node.cluster_dns = vec![IpAddr::V4(config.cluster.dns_service_ip())];
    CLUSTER_DOMAIN.clone_into(&mut node.cluster_domain);
    node.cgroup_root = format!("/mainstay-{}/kubepods", config.cluster.id);
    KUBELET_VERSION.clone_into(&mut node.kubelet_version);
    node
}

fn proxy_config(config: &Config, clock: Arc<dyn Clock>) -> mainstay_agents_proxy::Config {
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    mainstay_agents_proxy::Config {
        table: service_table(&config.cluster.id),
        node_name: config.cluster.node_name.clone(),
        cluster_cidr: config.cluster.cluster_cidr,
        dns_bind: SocketAddr::new(IpAddr::V4(config.cluster.gateway()), 53),
        dns_domain: CLUSTER_DOMAIN.to_owned(),
        dns_upstreams: upstreams(&resolv_conf),
        clock,
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
