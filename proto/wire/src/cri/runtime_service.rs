//! CRI's runtime service as an in-process trait. CRI's own words are the specification.

use super::{BoxFuture, CriResult, v1};
use tokio::sync::broadcast;

/// CRI's event stream: one message per created, started, stopped or deleted container. A slow reader is told that it
/// lagged (`RecvError::Lagged`) and must list again.
pub type ContainerEvents = broadcast::Receiver<v1::ContainerEventResponse>;

/// Pod sandboxes and containers. Stop and remove calls are idempotent. No call needs the caller to stay: a dropped
/// future leaves the object in a state that the same call continues.
pub trait RuntimeService: Send + Sync {
    /// Name and version of the runtime.
    fn version(&self, request: v1::VersionRequest) -> BoxFuture<'_, CriResult<v1::VersionResponse>>;

    /// Creates a sandbox (network, namespaces, cgroup, shim) and returns it ready.
    fn run_pod_sandbox(
        &self,
        request: v1::RunPodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::RunPodSandboxResponse>>;

    /// Kills what runs in the sandbox and gives its network back. Unknown sandbox: no error.
    fn stop_pod_sandbox(
        &self,
        request: v1::StopPodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::StopPodSandboxResponse>>;

    /// Stops, then removes the sandbox and its containers. Unknown sandbox: no error.
    fn remove_pod_sandbox(
        &self,
        request: v1::RemovePodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::RemovePodSandboxResponse>>;

    /// State, addresses and container statuses. `NotFound` when unknown.
    fn pod_sandbox_status(
        &self,
        request: v1::PodSandboxStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::PodSandboxStatusResponse>>;

    /// Sandboxes that match the filter.
    fn list_pod_sandbox(
        &self,
        request: v1::ListPodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListPodSandboxResponse>>;

    /// Prepares a container whose process does not run yet. The image must be present.
    fn create_container(
        &self,
        request: v1::CreateContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::CreateContainerResponse>>;

    /// Runs a created container's process.
    fn start_container(
        &self,
        request: v1::StartContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::StartContainerResponse>>;

    /// Stop signal, then SIGKILL after the timeout; returns when it has exited. Unknown or exited: no error.
    fn stop_container(
        &self,
        request: v1::StopContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::StopContainerResponse>>;

    /// Kills and removes. Its log file stays (the node agent's). Unknown: no error.
    fn remove_container(
        &self,
        request: v1::RemoveContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::RemoveContainerResponse>>;

    /// Containers that match the filter.
    fn list_containers(
        &self,
        request: v1::ListContainersRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListContainersResponse>>;

    /// Everything known of one container. `NotFound` when unknown.
    fn container_status(
        &self,
        request: v1::ContainerStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::ContainerStatusResponse>>;

    /// Changes cgroup limits of a container that has not exited.
    fn update_container_resources(
        &self,
        request: v1::UpdateContainerResourcesRequest,
    ) -> BoxFuture<'_, CriResult<v1::UpdateContainerResourcesResponse>>;

    /// Opens the log file anew (after somebody renamed it).
    fn reopen_container_log(
        &self,
        request: v1::ReopenContainerLogRequest,
    ) -> BoxFuture<'_, CriResult<v1::ReopenContainerLogResponse>>;

    /// Runs a command in a running container and waits. `DeadlineExceeded` after the timeout (the command is killed).
    fn exec_sync(&self, request: v1::ExecSyncRequest) -> BoxFuture<'_, CriResult<v1::ExecSyncResponse>>;

    /// Usage of one container.
    fn container_stats(
        &self,
        request: v1::ContainerStatsRequest,
    ) -> BoxFuture<'_, CriResult<v1::ContainerStatsResponse>>;

    /// Usage of the running containers that match.
    fn list_container_stats(
        &self,
        request: v1::ListContainerStatsRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListContainerStatsResponse>>;

    /// Usage of one sandbox with its containers and network.
    fn pod_sandbox_stats(
        &self,
        request: v1::PodSandboxStatsRequest,
    ) -> BoxFuture<'_, CriResult<v1::PodSandboxStatsResponse>>;

    /// RuntimeReady and NetworkReady.
    fn status(&self, request: v1::StatusRequest) -> BoxFuture<'_, CriResult<v1::StatusResponse>>;

    /// Tells the pod CIDR of this node, once the cluster has given one.
    fn update_runtime_config(
        &self,
        request: v1::UpdateRuntimeConfigRequest,
    ) -> BoxFuture<'_, CriResult<v1::UpdateRuntimeConfigResponse>>;

    /// Subscribes to container events from now on.
    fn get_container_events(&self) -> ContainerEvents;
}
