//! The label and annotation keys written on sandboxes and containers, and where the agent keeps a pod's files.
//! What is written here is all that a restarted agent knows of running containers, so keys never change meaning.

use std::path::{Path, PathBuf};

/// Label: the pod's name.
pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: the pod's namespace.
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: the pod's uid.
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: the container's name within its pod.
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: hash of the fields whose change restarts a container.
pub(crate) const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container was restarted before this one.
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: path of the termination message inside the container.
pub(crate) const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub(crate) const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the pod's grace period, for pods whose object is gone.
pub(crate) const POD_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// Directory of everything the agent keeps for pods.
#[derive(Debug, Clone)]
pub(crate) struct PodDirs {
    pods: PathBuf,
    logs: PathBuf,
}

impl PodDirs {
    /// Pod state under `root/pods`, log files under `root/logs`.
    pub(crate) fn new(root: &Path) -> Self {
        Self { pods: root.join("pods"), logs: root.join("logs") }
    }

    /// All pods' directories.
    pub(crate) fn pods(&self) -> &Path {
        &self.pods
    }

    /// All pods' log directories.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }

    /// One pod's directory.
    pub(crate) fn pod(&self, uid: &str) -> PathBuf {
        self.pods.join(uid)
    }

    /// One volume of a pod, as upstream names it (`volumes/kubernetes.io~configmap/<name>`).
    pub(crate) fn volume(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod(uid).join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    }

    /// Where a container's termination message files live on the host.
    pub(crate) fn container(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join("containers").join(container)
    }

    /// The pod's `/etc/hosts` file on the host.
    pub(crate) fn etc_hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// The pod's log directory, `<ns>_<name>_<uid>` as upstream names it.
    pub(crate) fn pod_logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.logs.join(format!("{namespace}_{name}_{uid}"))
    }
}

/// Path of a container's log below its pod's log directory.
pub(crate) fn container_log(container: &str, restart_count: u32) -> String {
    format!("{container}/{restart_count}.log")
}
