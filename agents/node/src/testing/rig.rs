//! One agent between a fake runtime and a fake API, with waits that have a deadline.

use std::sync::Arc;
use std::time::Duration;

use mainstay_base::lifecycle::Tasks;
use mainstay_base::pki::{Ca, Leaf, LeafRequest, SubjectName, Usage};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::fake_api::FakeApi;
use super::fake_cri::FakeCri;
use crate::config::Config;
use crate::start::{NodeAgent, run};

/// No wait takes this long when all is well.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
pub(super) const PODS: &str = "api/v1/pods";

pub(super) struct Rig {
    pub api: FakeApi,
    pub cri: Arc<FakeCri>,
    pub dir: TempDir,
    pub ca: Ca,
    pub agent: NodeAgent,
    tasks: Tasks,
}

pub(super) fn leaf(ca: &Ca, name: &str, usage: Usage) -> Leaf {
    let request = LeafRequest {
        common_name: name.to_owned(),
        organization: None,
        names: vec![SubjectName::Ip("127.0.0.1".parse().unwrap())],
        usage,
        validity: Duration::from_secs(3600),
    };
    ca.issue(&request, OffsetDateTime::now_utc()).unwrap()
}

impl Rig {
    pub(super) async fn new() -> Self {
        let ca = Ca::generate("test", OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
        let (api, cri, dir) = (FakeApi::new(), FakeCri::new(&["app:1"]), TempDir::new().unwrap());
        let (agent, tasks) = Self::start(&api, &cri, &dir, &ca).await;
        Self { api, cri, dir, ca, agent, tasks }
    }

    async fn start(api: &FakeApi, cri: &Arc<FakeCri>, dir: &TempDir, ca: &Ca) -> (NodeAgent, Tasks) {
        let serving = leaf(ca, "system:node:n1", Usage::Server);
        let mut config = Config::new("n1", dir.path());
        config.node_ips = vec!["127.0.0.1".parse().unwrap()];
        config.serving = tokio::sync::watch::channel(serving).1;
        config.client_ca_pem = tokio::sync::watch::channel(ca.certificate_pem().to_owned()).1;
        let tasks = Tasks::new("test", CancellationToken::new());
        let agent = run(config, api.client(), cri.clone(), cri.clone(), cri.clone(), &tasks).await.unwrap();
        (agent, tasks)
    }

    /// Ends the agent, as a crash would for its containers, and starts another.
    pub(super) async fn restart(mut self) -> Self {
        self.tasks.close_and_join(DEADLINE).await.unwrap();
        let (agent, tasks) = Self::start(&self.api, &self.cri, &self.dir, &self.ca).await;
        (self.agent, self.tasks) = (agent, tasks);
        self
    }

    pub(super) async fn stop(&self) {
        self.tasks.close_and_join(DEADLINE).await.unwrap();
    }

    /// Creates a pod that is already bound to the node.
    pub(super) fn pod(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = "n1".into();
        self.api.put(
            PODS,
            json!({"kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1,
                    "creationTimestamp": "2024-01-01T00:00:00Z"},
                "spec": spec, "status": {"phase": "Pending"}}),
        );
    }

    /// Waits until `look` gives something.
    pub(super) async fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let mut changes = self.api.changes();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = look(self) {
                    return found;
                }
                // Files and runtime calls do not wake the API's channel: look again soon.
                tokio::time::timeout(Duration::from_millis(20), changes.changed()).await.ok();
            }
        };
        if let Ok(found) = tokio::time::timeout(DEADLINE, wait).await {
            return found;
        }
        panic!(
            "no {what}; pods: {:#?}; calls: {:#?}",
            self.api.list(PODS).iter().map(|p| &p["status"]).collect::<Vec<_>>(),
            self.cri.log()
        )
    }

    /// Waits for a condition of a pod's status.
    pub(super) async fn status(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until(what, |rig| {
            let pod = rig.api.get(PODS, "ns", name)?;
            holds(&pod["status"]).then(|| pod["status"].clone())
        })
        .await
    }

    /// Waits until the pod is ready.
    pub(super) async fn ready(&self, name: &str) -> Value {
        self.status(name, "ready pod", |status| condition(status, "Ready") == Some("True")).await
    }

    /// The reasons of the events so far.
    pub(super) fn reasons(&self) -> Vec<String> {
        let events = self.api.list("api/v1/events");
        events.iter().filter_map(|e| e["reason"].as_str().map(str::to_owned)).collect()
    }
}

pub(super) fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a str> {
    let all = status["conditions"].as_array()?;
    all.iter().find(|c| c["type"] == kind)?["status"].as_str()
}
