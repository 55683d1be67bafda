//! From a container of the pod to the container that the runtime makes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use mainstay_proto_wire::cri::v1;

use super::containers::hash;
use super::env::Environment;
use super::expand::expand;
use super::quantity::QuantityError;
use super::resources::container_resources;
use super::sandbox::pod_labels;
use super::security::{ImageUser, SecurityError, check_non_root, container_security};
use crate::names;

/// Why a container cannot be described: its state becomes `CreateContainerConfigError` with this text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Quantity(#[from] QuantityError),
}

/// What the node adds to the container's own words.
#[derive(Debug)]
pub(crate) struct ContainerFacts<'a> {
    pub restart_count: u32,
    /// The image's id and the user it runs as.
    pub image_id: &'a str,
    pub image_user: ImageUser,
    pub environment: Environment,
    pub mounts: Vec<v1::Mount>,
    pub devices: Vec<v1::Device>,
    /// Id of the container whose processes this one joins (ephemeral containers).
    pub target: Option<&'a str>,
    pub memory_capacity: i64,
}

/// The runtime's container for `container` of `pod`.
pub(crate) fn container_config(
    pod: &Pod,
    container: &Container,
    facts: ContainerFacts<'_>,
) -> Result<v1::ContainerConfig, ConfigError> {
    check_non_root(pod, container, &facts.image_user)?;
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|w| expand(w, &|name| facts.environment.get(name))).collect()
    };
    let stated = container.image.clone().unwrap_or_default();
    let config = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: facts.restart_count }),
        image: Some(v1::ImageSpec {
            image: facts.image_id.to_owned(),
            user_specified_image: stated,
            ..Default::default()
        }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        labels: container_labels(pod, container),
        annotations: container_annotations(pod, container, facts.restart_count),
        log_path: names::container_log(&container.name, facts.restart_count),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        stop_signal: stop_signal(container).into(),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(container_resources(pod, container, facts.memory_capacity)?),
            security_context: Some(container_security(pod, container, &facts.image_user, facts.target)?),
        }),
        envs: facts.environment.vars.into_iter().map(|(key, value)| v1::KeyValue { key, value }).collect(),
        mounts: facts.mounts,
        devices: facts.devices,
        ..Default::default()
    };
    Ok(config)
}

fn stop_signal(container: &Container) -> v1::Signal {
    container
        .lifecycle
        .as_ref()
        .and_then(|l| l.stop_signal.as_deref())
        .and_then(v1::Signal::from_str_name)
        .unwrap_or(v1::Signal::RuntimeDefault)
}

fn container_labels(pod: &Pod, container: &Container) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from(pod_labels(pod));
    labels.insert(names::CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

fn container_annotations(pod: &Pod, container: &Container, restart_count: u32) -> BTreeMap<String, String> {
    let path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    let grace = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    [
        (names::CONTAINER_HASH, hash(container)),
        (names::RESTART_COUNT, restart_count.to_string()),
        (names::TERMINATION_MESSAGE_PATH, path.to_owned()),
        (names::TERMINATION_MESSAGE_POLICY, policy.to_owned()),
        (names::POD_GRACE, grace.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
