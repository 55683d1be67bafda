//! Starts the loops in order: what runs is known before what is wanted is acted upon.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Api;
use mainstay_agents_kit::events::Recorder;
use mainstay_agents_kit::informer::{Filter, start};
use mainstay_base::lifecycle::Tasks;
use mainstay_proto_wire::cri::{CriError, ImageService, RuntimeService, Streams, v1};
use tokio::sync::watch;

use crate::agent::{Agent, NodeFacts};
use crate::config::Config;
use crate::names::PodDirs;
use crate::node::{Identity, Machine, Reporter, allocatable, capacity, follow_node, run_heartbeat};
use crate::observer::Observer;
use crate::pod_events::PodEvents;
use crate::sources::ObjectSources;
use crate::spec::dns::parse_resolv_conf;
use crate::workers::Workers;
use crate::{desired, gc};

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The container runtime does not answer.
    #[error("asking the container runtime {what}")]
    Runtime {
        /// What was asked.
        what: &'static str,
        /// The runtime's answer.
        #[source]
        source: CriError,
    },
    /// The state directory cannot be made.
    #[error("creating {path}")]
    StateDir {
        /// The directory.
        path: std::path::PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The kubelet API cannot be served.
    #[error("serving the kubelet API on {bind}: {reason}")]
    Serve {
        /// Where it should listen.
        bind: SocketAddr,
        /// What went wrong.
        reason: String,
    },
}

/// A running node agent; it ends with the tasks it was started with, and leaves the containers running.
#[derive(Debug, Clone)]
pub struct NodeAgent {
    kubelet_addr: SocketAddr,
}

impl NodeAgent {
    /// Where the kubelet API listens.
    pub fn kubelet_addr(&self) -> SocketAddr {
        self.kubelet_addr
    }
}

/// Starts the node agent; its loops are tasks of `tasks`.
///
/// # Errors
/// When the runtime does not answer, the state directory cannot be made, or the kubelet API cannot be served.
pub async fn run(
    config: Config,
    client: kube::Client,
    runtime: Arc<dyn RuntimeService>,
    images: Arc<dyn ImageService>,
    streams: Arc<dyn Streams>,
    tasks: &Tasks,
) -> Result<NodeAgent, StartError> {
    let dirs = PodDirs::new(&config.state_dir);
    for path in [dirs.pods(), dirs.logs()] {
        std::fs::create_dir_all(path)
            .map_err(|source| StartError::StateDir { path: path.to_path_buf(), source })?;
    }
    let version = runtime
        .version(v1::VersionRequest::default())
        .await
        .map_err(|source| StartError::Runtime { what: "for its version", source })?;
    let machine = Machine::read(&config.state_dir);
    let facts = facts(&config, &machine);
    let observer = Arc::new(Observer::new(Arc::clone(&runtime), dirs.clone()));
    let stop = tasks.token();
    let clock = Arc::clone(&config.clock);
    // The event stream is open before the first list, so that nothing falls between them.
    let events = runtime.get_container_events();
    observer.relist().await.map_err(|source| StartError::Runtime { what: "for its pods", source })?;
    tasks.spawn("observer", Arc::clone(&observer).run(events, stop.clone()));

    let on_node = Filter::fields(format!("spec.nodeName={}", config.node_name));
    let pods = start(tasks, Arc::clone(&clock), Api::<Pod>::all(client.clone()), on_node);
    let services = start(tasks, Arc::clone(&clock), Api::<Service>::all(client.clone()), Filter::default());
    let this_node = Filter::fields(format!("metadata.name={}", config.node_name));
    let nodes = start(tasks, Arc::clone(&clock), Api::<Node>::all(client.clone()), this_node);
    let recorder =
        Recorder::start(tasks, client.clone(), Arc::clone(&clock), "kubelet", Some(&config.node_name));
    let agent = Arc::new(Agent {
        events: PodEvents::new(recorder, config.node_name.clone()),
        sources: ObjectSources::new(&client, tasks, &clock),
        client,
        runtime,
        images,
        streams,
        observer,
        services,
        dirs,
        facts,
        config,
    });
    let (desired_sender, desired) = watch::channel(None);
    let bound = crate::streams::serve(Arc::clone(&agent), tasks, desired.clone()).await;
    let kubelet_addr = bound.map_err(|reason| StartError::Serve { bind: agent.config.bind, reason })?;
    let identity = identity(&agent, machine, &version, kubelet_addr.port());
    tasks.spawn("node", Reporter::new(Arc::clone(&agent), identity, nodes.clone()).run(stop.clone()));
    tasks.spawn("heartbeat", run_heartbeat(Arc::clone(&agent), stop.clone()));
    let (view, node_view) = watch::channel(crate::admission::NodeView::default());
    tasks.spawn("node view", follow_node(Arc::clone(&agent), nodes.clone(), view, stop.clone()));
    tasks.spawn("desired", desired::run(pods, desired_sender, stop.clone()));
    tasks.spawn("gc", gc::run(Arc::clone(&agent), desired.clone(), stop.clone()));
    let workers = Workers::new(Arc::clone(&agent), tasks.clone(), desired, node_view.clone());
    let mut node_view = node_view;
    tasks.spawn("workers", async move {
        // Admission reads the Node, variables read the Services: both lists come first.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            seen = async {
                agent.services.synced().await;
                nodes.synced().await;
                node_view.wait_for(|view| !view.name.is_empty()).await.map(drop)
            } => if seen.is_err() { return },
        }
        workers.run(stop).await;
    });
    Ok(NodeAgent { kubelet_addr })
}

fn facts(config: &Config, machine: &Machine) -> NodeFacts {
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    NodeFacts {
        capacity: capacity(machine, config.pods_max),
        allocatable: allocatable(
            machine,
            config.pods_max,
            config.reserved_cpu_milli,
            config.reserved_memory_bytes,
        ),
        memory_bytes: machine.memory_bytes,
        hostname: machine.hostname.clone(),
        host_ips: config.node_ips.iter().map(ToString::to_string).collect(),
        dns: parse_resolv_conf(&resolv),
    }
}

fn identity(agent: &Agent, machine: Machine, version: &v1::VersionResponse, kubelet_port: u16) -> Identity {
    Identity {
        name: agent.config.node_name.clone(),
        ips: agent.facts.host_ips.clone(),
        labels: agent.config.labels.clone(),
        machine,
        kubelet_version: agent.config.kubelet_version.clone(),
        runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version),
        kubelet_port,
        capacity: agent.facts.capacity.clone(),
        allocatable: agent.facts.allocatable.clone(),
        pod_cidr: agent.config.pod_cidr.clone(),
    }
}
