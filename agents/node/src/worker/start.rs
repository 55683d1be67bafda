//! Starting one container: image, environment, mounts, create, start, `postStart`.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;
use mainstay_proto_wire::cri::v1;

use super::act::Work;
use super::backoff::Delay;
use super::leases::Leased;
use super::outcome::{Outcome, StartFailure, StartStage};
use super::pull::{self, Image, PullRequest};
use super::view::Failure;
use crate::hooks::{self, HookTarget, POST_START_MAX};
use crate::spec::container::{ContainerFacts, container_config};
use crate::spec::containers;
use crate::spec::env::{Environment, environment};
use crate::spec::service_env::service_env;
use crate::volumes::{ContentSources, container_mounts};

/// Which run of which container to start, and where.
#[derive(Debug, Clone)]
pub(crate) struct StartRequest {
    pub name: String,
    pub restart_count: u32,
    pub sandbox_id: String,
    pub sandbox_attempt: u32,
    pub pod_ips: Vec<String>,
    /// The last failed pull of this container.
    pub last_pull: Option<(Delay, Timestamp, String)>,
}

type Failed = (Failure, StartStage);

fn failed(reason: &str, message: impl Into<String>, stage: StartStage) -> Failed {
    (Failure { reason: reason.to_owned(), message: message.into() }, stage)
}

impl Work {
    /// Starts a container; a failure says what its waiting state shows.
    pub(crate) async fn start_container(self, request: StartRequest) -> Outcome {
        let name = request.name.clone();
        let Some(declared) = containers::find(&self.pod, &name) else {
            return Outcome::Undone {
                what: "starting a container",
                message: format!("{name} is not declared"),
            };
        };
        let container = declared.container.into_owned();
        let started = self.try_start(&container, &request).await;
        self.refresh().await;
        match started {
            Ok(id) => Outcome::Started { name, id },
            Err((failure, stage)) => Outcome::StartFailed(StartFailure { name, failure, stage }),
        }
    }

    async fn try_start(&self, container: &Container, request: &StartRequest) -> Result<String, Failed> {
        let warn = |message: &str| {
            self.agent.events.container_warning(
                &self.pod,
                &container.name,
                "Failed",
                format!("Error: {message}"),
            );
        };
        let prepare = |reason: &'static str| {
            move |message: String| {
                warn(&message);
                failed(reason, message, StartStage::Prepare)
            }
        };
        let config_error = prepare("CreateContainerConfigError");
        let sandbox =
            self.sandbox_config(request.sandbox_attempt).map_err(|e| config_error(e.to_string()))?;
        let leased = self.leases.get().await.map_err(|e| config_error(e.to_string()))?;
        let image = pull::ensure(PullRequest {
            agent: &self.agent,
            pod: &self.pod,
            container,
            sandbox: sandbox.clone(),
            secrets: &leased.secrets,
            last: request.last_pull.clone(),
        })
        .await?;
        let config = self.describe(container, request, leased, image).await.map_err(&config_error)?;
        let create = v1::CreateContainerRequest {
            pod_sandbox_id: request.sandbox_id.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        let made = self.agent.runtime.create_container(create).await;
        let id = made.map_err(|e| prepare("CreateContainerError")(e.to_string()))?.container_id;
        let events = &self.agent.events;
        events.container_normal(&self.pod, &container.name, "Created", "Container created");
        let start = v1::StartContainerRequest { container_id: id.clone() };
        if let Err(error) = self.agent.runtime.start_container(start).await {
            warn(&error.to_string());
            return Err(failed("RunContainerError", error.to_string(), StartStage::Run));
        }
        events.container_normal(&self.pod, &container.name, "Started", "Container started");
        self.post_start(container, &id, &request.pod_ips).await?;
        Ok(id)
    }

    /// Everything the runtime is told about the container.
    async fn describe(
        &self,
        container: &Container,
        request: &StartRequest,
        leased: Leased,
        image: Image,
    ) -> Result<v1::ContainerConfig, String> {
        self.write_hosts(&request.pod_ips).await?;
        let environment = self.environment(container, request, leased)?;
        for skipped in &environment.skipped {
            self.agent.events.warning(&self.pod, "InvalidEnvironmentVariableNames", skipped.clone());
        }
        let (dirs, pod, own) = (self.agent.dirs.clone(), self.pod.clone(), container.clone());
        let restart_count = request.restart_count;
        let mounting = tokio::task::spawn_blocking(move || {
            let mounts = container_mounts(&dirs, &pod, &own, restart_count, &environment);
            mounts.map(|mounts| (mounts, environment))
        });
        let (mounts, environment) =
            mounting.await.map_err(|e| format!("preparing mounts: {e}"))?.map_err(|e| e.sentence())?;
        let target = containers::target(&self.pod, &container.name).and_then(|name| {
            let records = self.agent.observer.watch(&self.uid).borrow().clone();
            records.current(&name).map(|record| record.id.clone())
        });
        let facts = ContainerFacts {
            restart_count,
            image_id: &image.id,
            image_user: image.user,
            environment,
            mounts,
            devices: Vec::new(),
            target: target.as_deref(),
            memory_capacity: self.agent.facts.memory_bytes,
        };
        container_config(&self.pod, container, facts).map_err(|e| e.to_string())
    }

    fn environment(
        &self,
        container: &Container,
        request: &StartRequest,
        leased: Leased,
    ) -> Result<Environment, String> {
        let sources = ContentSources {
            config_maps: leased.config_maps,
            secrets: leased.secrets,
            tokens: std::collections::BTreeMap::new(),
            facts: self.facts(&request.pod_ips),
        };
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or("default");
        let links = self.pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
        let services = self.agent.services.list();
        let services = service_env(services.iter().map(AsRef::as_ref), namespace, links);
        environment(&self.pod, container, &sources.facts, &sources, &services).map_err(|e| e.to_string())
    }

    async fn post_start(&self, container: &Container, id: &str, ips: &[String]) -> Result<(), Failed> {
        let Some(handler) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
            return Ok(());
        };
        // The container runs while its hook does: show it.
        self.refresh().await;
        let ip = ips.first().cloned().unwrap_or_default();
        let target = HookTarget { container, container_id: id, pod_ip: &ip };
        let Err(error) = hooks::run(&self.agent, handler, target, POST_START_MAX).await else {
            return Ok(());
        };
        let message = format!("PostStartHook failed: {error}");
        self.agent.events.container_warning(
            &self.pod,
            &container.name,
            "FailedPostStartHook",
            message.clone(),
        );
        let grace = self.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        let stop = v1::StopContainerRequest { container_id: id.to_owned(), timeout: grace };
        if let Err(error) = self.agent.runtime.stop_container(stop).await {
            tracing::warn!(container = id, %error, "stopping a container after its failed hook failed");
        }
        Err(failed("PostStartHookError", message, StartStage::Run))
    }
}
