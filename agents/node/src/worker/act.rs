//! The operations of a worker: volumes, sandbox, kills, removals, the object's deletion. Each runs to its end in a
//! task of its own and has refreshed the runtime's records before it reports.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};
use mainstay_agents_kit::time::elapsed;
use mainstay_proto_wire::cri::v1;
use tokio::sync::Mutex;

use super::leases::PodLeases;
use super::outcome::Outcome;
use super::step::KillWhy;
use super::view::Failure;
use crate::agent::Agent;
use crate::hooks::{self, HookTarget};
use crate::spec::containers;
use crate::spec::dns::pod_dns;
use crate::spec::downward::PodFacts;
use crate::spec::hosts::{node_hosts, pod_hosts};
use crate::spec::sandbox::{SandboxError, SandboxFacts, hostname_and_domain, sandbox_config};
use crate::volumes::{ContentSources, MountRequest, Tokens, VolumeError, mount_all, unmount_all};

/// A process that ignores its stop signal gets at least this long, as upstream.
const GRACE_MIN: i64 = 2;
/// How long the runtime may take beyond a container's grace.
const STOP_SLACK: Duration = Duration::from_secs(60);
/// How long making or stopping a sandbox may take.
const SANDBOX_DEADLINE: Duration = Duration::from_secs(240);
/// How long a deletion call may take.
const DELETE_DEADLINE: Duration = Duration::from_secs(30);

/// What every operation of one pod gets.
#[derive(Clone)]
pub(crate) struct Work {
    pub agent: Arc<Agent>,
    pub pod: Arc<Pod>,
    pub uid: String,
    pub leases: Arc<PodLeases>,
    pub tokens: Arc<Mutex<Tokens>>,
}

impl Work {
    /// What the pod may read about itself.
    pub(crate) fn facts(&self, pod_ips: &[String]) -> PodFacts {
        PodFacts {
            pod_ips: pod_ips.to_vec(),
            host_ips: self.agent.facts.host_ips.clone(),
            allocatable: self.agent.facts.allocatable.clone(),
        }
    }

    /// The sandbox as the runtime must be told of it.
    pub(crate) fn sandbox_config(&self, attempt: u32) -> Result<v1::PodSandboxConfig, SandboxError> {
        let (agent, meta) = (&self.agent, &self.pod.metadata);
        let logs = agent.dirs.pod_logs(
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
            &self.uid,
        );
        let facts = SandboxFacts {
            attempt,
            dns: pod_dns(&self.pod, &agent.cluster_dns(), &agent.facts.dns),
            cluster_domain: &agent.config.cluster_domain,
            cgroup_root: &agent.config.cgroup_root,
            log_directory: logs.to_string_lossy().into_owned(),
            node_hostname: &agent.facts.hostname,
        };
        sandbox_config(&self.pod, &facts)
    }

    /// Records are best brought up to date here; when it fails the event stream will do it.
    pub(crate) async fn refresh(&self) {
        if let Err(error) = self.agent.observer.refresh(&self.uid).await {
            tracing::warn!(pod = self.uid, %error, "looking at a pod after an operation failed");
        }
    }

    /// Makes the pod's volumes, or brings them up to date.
    pub(crate) async fn mount_volumes(self, stamp: String) -> Outcome {
        match self.try_mount(stamp).await {
            Ok(()) => Outcome::VolumesMounted,
            Err((volume, reason)) => {
                let message = if volume.is_empty() {
                    reason
                } else {
                    format!("MountVolume.SetUp failed for volume \"{volume}\" : {reason}")
                };
                self.agent.events.warning(&self.pod, "FailedMount", message.clone());
                Outcome::VolumesFailed(Failure { reason: "FailedMount".to_owned(), message })
            }
        }
    }

    async fn try_mount(&self, stamp: String) -> Result<(), (String, String)> {
        let whole = |error: String| (String::new(), error);
        let leased = self.leases.get().await.map_err(|e| whole(e.to_string()))?;
        let tokens = {
            let mut tokens = self.tokens.lock().await;
            let ensured = tokens.ensure(&self.agent.client, &self.pod, self.agent.now()).await;
            ensured.map_err(|e| whole(e.sentence()))?;
            tokens.values()
        };
        let sources = ContentSources {
            config_maps: leased.config_maps,
            secrets: leased.secrets,
            tokens,
            facts: self.facts(&[]),
        };
        let request =
            MountRequest { pod: Arc::clone(&self.pod), dirs: self.agent.dirs.clone(), sources, stamp };
        let done = tokio::task::spawn_blocking(move || mount_all(&request)).await;
        let done = done.unwrap_or_else(|_| Err((String::new(), VolumeError::Task)));
        done.map_err(|(volume, error)| (volume, error.sentence()))
    }

    /// Takes the pod's volumes down.
    pub(crate) async fn unmount_volumes(self) -> Outcome {
        let (dirs, uid) = (self.agent.dirs.clone(), self.uid.clone());
        match tokio::task::spawn_blocking(move || unmount_all(&dirs, &uid)).await {
            Ok(Ok(())) => Outcome::VolumesRemoved,
            Ok(Err(error)) => Outcome::VolumesFailed(Failure {
                reason: "FailedUnmount".to_owned(),
                message: error.sentence(),
            }),
            Err(_) => Outcome::VolumesFailed(Failure {
                reason: "FailedUnmount".to_owned(),
                message: "task ended".to_owned(),
            }),
        }
    }

    /// Makes a sandbox, after stopping the one it replaces.
    pub(crate) async fn create_sandbox(self, attempt: u32, stop: Option<String>) -> Outcome {
        if let Some(id) = stop {
            let events = &self.agent.events;
            events.normal(
                &self.pod,
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            );
            let stopped =
                self.agent.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: id }).await;
            if let Err(error) = stopped {
                return self.sandbox_failed(format!("Failed to stop the previous pod sandbox: {error}"));
            }
        }
        let config = match self.sandbox_config(attempt) {
            Ok(config) => config,
            Err(error) => return self.sandbox_failed(format!("Failed to create pod sandbox: {error}")),
        };
        if let Err(error) = tokio::fs::create_dir_all(&config.log_directory).await {
            return self.sandbox_failed(format!("Failed to create the log directory: {error}"));
        }
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let made = tokio::time::timeout(SANDBOX_DEADLINE, self.agent.runtime.run_pod_sandbox(request)).await;
        self.refresh().await;
        match made {
            Ok(Ok(_)) => Outcome::SandboxMade,
            Ok(Err(error)) => self.sandbox_failed(format!("Failed to create pod sandbox: {error}")),
            Err(_elapsed) => {
                self.sandbox_failed("Failed to create pod sandbox: the runtime took too long".to_owned())
            }
        }
    }

    fn sandbox_failed(&self, message: String) -> Outcome {
        self.agent.events.warning(&self.pod, "FailedCreatePodSandBox", message.clone());
        Outcome::SandboxFailed(Failure { reason: "FailedCreatePodSandBox".to_owned(), message })
    }

    /// The pod's `/etc/hosts`, made once its address is known.
    pub(crate) async fn write_hosts(&self, ips: &[String]) -> Result<(), String> {
        let path = self.agent.dirs.etc_hosts(&self.uid);
        let spec = self.pod.spec.as_ref();
        let aliases = spec.and_then(|s| s.host_aliases.as_deref()).unwrap_or_default();
        let text = if spec.is_some_and(|s| s.host_network == Some(true)) {
            let own = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
            node_hosts(&own, aliases)
        } else {
            let (hostname, domain) = hostname_and_domain(&self.pod, &self.agent.config.cluster_domain);
            pod_hosts(ips, &hostname, &domain, aliases)
        };
        tokio::fs::write(&path, text).await.map_err(|e| format!("writing {}: {e}", path.display()))
    }

    /// Ends one container: `preStop`, stop signal, kill.
    pub(crate) async fn kill(self, id: String, name: String, grace_seconds: i64, why: KillWhy) -> Outcome {
        let declared = containers::find(&self.pod, &name);
        let message = match why {
            KillWhy::PodEnds | KillWhy::SandboxGone => format!("Stopping container {name}"),
            KillWhy::Liveness => format!("Container {name} failed liveness probe, will be restarted"),
            KillWhy::Startup => format!("Container {name} failed startup probe, will be restarted"),
            KillWhy::Changed => format!("Container {name} definition changed, will be restarted"),
        };
        self.agent.events.container_normal(&self.pod, &name, "Killing", message);
        let began = self.agent.now();
        let hook =
            declared.as_ref().and_then(|d| d.container.lifecycle.as_ref()).and_then(|l| l.pre_stop.clone());
        let mut left = grace_seconds;
        if let (Some(handler), Some(declared)) = (hook, &declared)
            && grace_seconds > 0
        {
            let ip = self.pod_ip();
            let target = HookTarget { container: &declared.container, container_id: &id, pod_ip: &ip };
            let timeout = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
            if let Err(error) = hooks::run(&self.agent, &handler, target, timeout).await {
                let text = format!("PreStopHook failed: {error}");
                self.agent.events.container_warning(&self.pod, &name, "FailedPreStopHook", text);
            }
            let used = elapsed(began, self.agent.now()).as_secs();
            left = left.saturating_sub(i64::try_from(used).unwrap_or(i64::MAX));
        }
        let timeout = left.max(GRACE_MIN);
        let request = v1::StopContainerRequest { container_id: id, timeout };
        let limit = Duration::from_secs(u64::try_from(timeout).unwrap_or(0)) + STOP_SLACK;
        let stopped = tokio::time::timeout(limit, self.agent.runtime.stop_container(request)).await;
        self.refresh().await;
        match stopped {
            Ok(Ok(_)) => Outcome::Done,
            Ok(Err(error)) => {
                let text = format!("error killing container \"{name}\": {error}");
                self.agent.events.container_warning(&self.pod, &name, "FailedKillPod", text.clone());
                Outcome::Undone { what: "stopping a container", message: text }
            }
            Err(_elapsed) => Outcome::Undone {
                what: "stopping a container",
                message: "the runtime took too long".to_owned(),
            },
        }
    }

    /// The pod's address as last seen.
    pub(crate) fn pod_ip(&self) -> String {
        let records = self.agent.observer.watch(&self.uid).borrow().clone();
        let own = records.sandbox().and_then(|s| s.ips.first().cloned());
        own.or_else(|| self.agent.facts.host_ips.first().cloned()).unwrap_or_default()
    }

    /// Removes a dead container and its log.
    pub(crate) async fn remove_container(self, id: String) -> Outcome {
        let records = self.agent.observer.watch(&self.uid).borrow().clone();
        let log = records.containers.iter().find(|c| c.id == id).map(|c| c.log_path.clone());
        let removed =
            self.agent.runtime.remove_container(v1::RemoveContainerRequest { container_id: id }).await;
        if removed.is_ok()
            && let Some(log) = log.filter(|l| !l.is_empty())
        {
            crate::gc::remove_log(std::path::Path::new(&log)).await;
        }
        self.done(removed.map(drop), "removing a container").await
    }

    /// Stops a sandbox.
    pub(crate) async fn stop_sandbox(self, id: String) -> Outcome {
        let call = self.agent.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: id });
        let stopped = tokio::time::timeout(SANDBOX_DEADLINE, call).await;
        let stopped =
            stopped.unwrap_or_else(|_| Err(mainstay_proto_wire::cri::CriError::internal("timed out")));
        self.done(stopped.map(drop), "stopping a sandbox").await
    }

    /// Removes a sandbox and its containers.
    pub(crate) async fn remove_sandbox(self, id: String) -> Outcome {
        let call = self.agent.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: id });
        let removed = tokio::time::timeout(SANDBOX_DEADLINE, call).await;
        let removed =
            removed.unwrap_or_else(|_| Err(mainstay_proto_wire::cri::CriError::internal("timed out")));
        self.done(removed.map(drop), "removing a sandbox").await
    }

    async fn done(&self, result: mainstay_proto_wire::cri::CriResult<()>, what: &'static str) -> Outcome {
        self.refresh().await;
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Undone { what, message: error.to_string() },
        }
    }

    /// Deletes the object for good; only this incarnation of it.
    pub(crate) async fn delete_pod(self) -> Outcome {
        let meta = &self.pod.metadata;
        let api: Api<Pod> =
            Api::namespaced(self.agent.client.clone(), meta.namespace.as_deref().unwrap_or("default"));
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let name = meta.name.clone().unwrap_or_default();
        match tokio::time::timeout(DELETE_DEADLINE, api.delete(&name, &params)).await {
            Ok(Ok(_)) => Outcome::Deleted,
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Outcome::Deleted,
            Ok(Err(error)) => Outcome::DeleteFailed(error.to_string()),
            Err(_elapsed) => Outcome::DeleteFailed("the API did not answer in time".to_owned()),
        }
    }
}
