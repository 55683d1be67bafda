//! One way to look at a pod's regular, init, sidecar and ephemeral containers.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

/// Which list of the pod a container comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// A restartable init container.
    Sidecar,
    /// A regular container.
    App,
    /// Added to a running pod for debugging.
    Ephemeral,
}

/// A container of the pod's spec with its role.
#[derive(Debug, Clone)]
pub(crate) struct Declared<'a> {
    pub role: Role,
    pub container: Cow<'a, Container>,
}

impl Declared<'_> {
    /// The container's name.
    pub(crate) fn name(&self) -> &str {
        &self.container.name
    }
}

/// Every container: init containers and sidecars in order, then regular ones, then ephemeral ones.
pub(crate) fn all(pod: &Pod) -> Vec<Declared<'_>> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec
        .init_containers
        .iter()
        .flatten()
        .map(|c| Declared { role: init_role(c), container: Cow::Borrowed(c) });
    let app = spec.containers.iter().map(|c| Declared { role: Role::App, container: Cow::Borrowed(c) });
    let ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|c| Declared { role: Role::Ephemeral, container: Cow::Owned(plain(c)) });
    init.chain(app).chain(ephemeral).collect()
}

/// The container of this name.
pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<Declared<'a>> {
    all(pod).into_iter().find(|c| c.name() == name)
}

/// Whether an init container is a sidecar.
pub(crate) fn init_role(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

fn plain(c: &EphemeralContainer) -> Container {
    Container {
        args: c.args.clone(),
        command: c.command.clone(),
        env: c.env.clone(),
        env_from: c.env_from.clone(),
        image: c.image.clone(),
        image_pull_policy: c.image_pull_policy.clone(),
        name: c.name.clone(),
        security_context: c.security_context.clone(),
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        termination_message_path: c.termination_message_path.clone(),
        termination_message_policy: c.termination_message_policy.clone(),
        tty: c.tty,
        volume_mounts: c.volume_mounts.clone(),
        working_dir: c.working_dir.clone(),
        resources: c.resources.clone(),
        ..Container::default()
    }
}

/// The name of the container whose processes an ephemeral container wants to see.
pub(crate) fn target(pod: &Pod, name: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    spec.ephemeral_containers
        .iter()
        .flatten()
        .find(|c| c.name == name)
        .and_then(|c| c.target_container_name.clone())
        .filter(|t| !t.is_empty())
}

/// `spec.restartPolicy`, `Always` by default.
pub(crate) fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
}

/// Hash of what makes a running container outdated when it changes: its name and image, as upstream.
pub(crate) fn hash(container: &Container) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    hasher.update(container.name.as_bytes());
    hasher.update([0]);
    hasher.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hasher.finalize().iter().take(4).fold(String::new(), |mut text, byte| {
        use std::fmt::Write;
        write!(text, "{byte:02x}").ok();
        text
    })
}
