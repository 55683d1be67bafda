//! Registers the Node and keeps its status: at once when something changes or somebody else wrote otherwise, and at least every five minutes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerImage, Node, NodeCondition, NodeStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use mainstay_agents_kit::events::EventType;
use mainstay_agents_kit::informer::{Reader, Subscription};
use mainstay_agents_kit::time::elapsed;
use mainstay_proto_wire::cri::v1;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::conditions::{Readiness, conditions, transition};
use super::machine::Machine;
use super::object::Identity;
use crate::admission::NodeView;
use crate::agent::Agent;

/// How often the machine's headroom is looked at; nothing tells us when memory gets short.
const LOOK: Duration = Duration::from_secs(10);
/// How often an unchanged status is written, as upstream.
const REPORT: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(20);

/// The loop that owns the Node object.
pub(crate) struct Reporter {
    agent: Arc<Agent>,
    identity: Identity,
    /// The Node as the cluster has it.
    nodes: Reader<Node>,
    conditions: Vec<NodeCondition>,
    written: Option<(NodeStatus, Timestamp)>,
    /// The newest version of the object that has been written here, or answered by writing.
    known: u64,
}

impl Reporter {
    /// Nothing is written until [`Reporter::run`].
    pub(crate) fn new(agent: Arc<Agent>, identity: Identity, nodes: Reader<Node>) -> Self {
        Self { agent, identity, nodes, conditions: Vec::new(), written: None, known: 0 }
    }

    /// Registers, then reports until stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        self.agent.events.node(EventType::Normal, "Starting", "Starting kubelet.");
        let mut registered = false;
        let mut changes = self.nodes.subscribe();
        loop {
            let done = if registered { self.report().await } else { self.register().await };
            let pause = match done {
                Ok(()) => {
                    if !registered {
                        info!(node = self.identity.name, "registered");
                    }
                    registered = true;
                    LOOK
                }
                Err(error) => {
                    warn!(node = self.identity.name, error, "reporting the node failed");
                    // Somebody may have deleted the object: look again from the start.
                    registered = false;
                    RETRY
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.contradicted(&mut changes), if registered => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Waits until somebody else has written a condition of ours otherwise, as the cluster does with a node that was not heard of for long.
    async fn contradicted(&mut self, changes: &mut Subscription<Node>) {
        loop {
            let node = self.nodes.get_named("", &self.identity.name);
            if let Some(node) = node
                && let Some(conditions) = self.contradiction(&node)
            {
                (self.conditions, self.written) = (conditions, None);
                return;
            }
            if changes.next().await.is_none() {
                // The informer has ended, and with it the agent.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The conditions of the Node if they are not what was written here. Each version of the object counts once, and those from before
    /// the last writing do not.
    fn contradiction(&mut self, node: &Node) -> Option<Vec<NodeCondition>> {
        let shown = node.status.as_ref()?.conditions.as_ref()?;
        let own = self.written.as_ref()?.0.conditions.as_ref()?;
        let agrees = |own: &NodeCondition| {
            shown.iter().any(|shown| shown.type_ == own.type_ && shown.status == own.status)
        };
        let version = version_of(node);
        if version <= self.known || own.iter().all(agrees) {
            return None;
        }
        self.known = version;
        Some(shown.clone())
    }

    fn api(&self) -> Api<Node> {
        Api::all(self.agent.client.clone())
    }

    async fn register(&mut self) -> Result<(), String> {
        let api = self.api();
        let name = self.identity.name.clone();
        let existing = timely(api.get_opt(&name)).await?;
        if let Some(node) = existing {
            let status = node.status.unwrap_or_default();
            self.conditions = status.conditions.unwrap_or_default();
            let wanted = self.identity.labels();
            let labels = node.metadata.labels.unwrap_or_default();
            if wanted.iter().any(|(k, v)| labels.get(k) != Some(v)) {
                let patch = json!({"metadata": {"labels": wanted}});
                timely(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))).await?;
            }
        } else {
            let node = self.identity.node(self.status().await);
            timely(api.create(&PostParams::default(), &node)).await?;
        }
        self.written = None;
        self.report().await
    }

    /// Writes the status if it changed or is old.
    async fn report(&mut self) -> Result<(), String> {
        let now = self.agent.now();
        let status = self.status().await;
        let due = match &self.written {
            None => true,
            Some((written, at)) => changed(written, &status) || elapsed(*at, now) >= REPORT,
        };
        if !due {
            return Ok(());
        }
        let patch = json!({"status": status});
        let name = self.identity.name.clone();
        let (api, params, patch) = (self.api(), PatchParams::default(), Patch::Strategic(patch));
        let patched = timely(api.patch_status(&name, &params, &patch)).await?;
        self.known = version_of(&patched).max(self.known);
        self.tell(&status);
        self.conditions = status.conditions.clone().unwrap_or_default();
        self.written = Some((status, now));
        Ok(())
    }

    fn tell(&self, status: &NodeStatus) {
        for condition in status.conditions.iter().flatten() {
            let old = self.conditions.iter().find(|c| c.type_ == condition.type_);
            let holds = condition.status == "True";
            if old.is_none_or(|o| o.status != condition.status)
                && let Some(reason) = transition(&condition.type_, holds)
            {
                let text = format!("Node {} status is now: {reason}", self.identity.name);
                self.agent.events.node(EventType::Normal, reason, text);
            }
        }
    }

    async fn status(&self) -> NodeStatus {
        let headroom = Machine::headroom(&self.agent.config.state_dir);
        let readiness = self.readiness().await;
        let conditions = conditions(&readiness, headroom, &self.conditions, self.agent.now());
        self.identity.status(conditions, self.images().await)
    }

    async fn readiness(&self) -> Readiness {
        let asked = self.agent.runtime.status(v1::StatusRequest { verbose: false });
        let status = match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(answer)) => answer.status.unwrap_or_default(),
            Ok(Err(error)) => return Err(format!("container runtime is down: {error}")),
            Err(_elapsed) => return Err("container runtime is down: it does not answer".to_owned()),
        };
        let down = |kind: &str, words: &str| {
            let own = status.conditions.iter().find(|c| c.r#type == kind);
            match own {
                Some(c) if c.status => None,
                Some(c) => {
                    Some(format!("{words} not ready: {kind}=false reason:{} message:{}", c.reason, c.message))
                }
                None => Some(format!("{words} did not report {kind}")),
            }
        };
        let problems: Vec<String> =
            [down("RuntimeReady", "container runtime"), down("NetworkReady", "container runtime network")]
                .into_iter()
                .flatten()
                .collect();
        if problems.is_empty() { Ok(()) } else { Err(format!("[{}]", problems.join(", "))) }
    }

    async fn images(&self) -> Vec<ContainerImage> {
        let asked = self.agent.images.list_images(v1::ListImagesRequest::default());
        let listed = match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(answer)) => answer.images,
            Ok(Err(error)) => {
                warn!(%error, "listing images failed");
                Vec::new()
            }
            Err(_elapsed) => Vec::new(),
        };
        let names = |image: &v1::Image| image.repo_digests.iter().chain(&image.repo_tags).cloned().collect();
        listed
            .iter()
            .map(|image| ContainerImage {
                names: Some(names(image)),
                size_bytes: Some(i64::try_from(image.size).unwrap_or(i64::MAX)),
            })
            .collect()
    }
}

/// A version of the object, as a number: they grow. 0 when it is none.
fn version_of(node: &Node) -> u64 {
    node.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// Whether more than heartbeat times differ.
fn changed(old: &NodeStatus, new: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(old) != still(new)
}

async fn timely<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(answer) => answer.map_err(|e| e.to_string()),
        Err(_elapsed) => Err("the API did not answer in time".to_owned()),
    }
}

/// Publishes what admission must know of the Node, and tells the runtime its pod CIDR once there is one.
pub(crate) async fn follow_node(
    agent: Arc<Agent>,
    nodes: Reader<Node>,
    view: watch::Sender<NodeView>,
    stop: CancellationToken,
) {
    let allocatable: BTreeMap<String, i64> = agent
        .facts
        .allocatable
        .iter()
        .filter_map(|(name, amount)| {
            let read =
                if name == "cpu" { crate::spec::quantity::milli } else { crate::spec::quantity::value };
            Some((name.clone(), read(amount).ok()?))
        })
        .collect();
    let mut changes = nodes.subscribe();
    let mut told = None;
    loop {
        let node = nodes.get_named("", &agent.config.node_name);
        let found = node.as_deref().map(|n| NodeView::of(n, allocatable.clone()));
        view.send_replace(found.unwrap_or_else(|| NodeView {
            name: agent.config.node_name.clone(),
            labels: agent.config.labels.clone(),
            taints: Vec::new(),
            allocatable: allocatable.clone(),
        }));
        let cidr = node.as_deref().and_then(|n| n.spec.as_ref()).and_then(|s| s.pod_cidr.clone());
        if cidr.is_some() && cidr != told {
            let network_config = Some(v1::NetworkConfig { pod_cidr: cidr.clone().unwrap_or_default() });
            let request =
                v1::UpdateRuntimeConfigRequest { runtime_config: Some(v1::RuntimeConfig { network_config }) };
            match agent.runtime.update_runtime_config(request).await {
                Ok(_) => told = cidr,
                Err(error) => warn!(%error, "telling the runtime its pod CIDR failed"),
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            change = changes.next() => if change.is_none() { return },
        }
    }
}
