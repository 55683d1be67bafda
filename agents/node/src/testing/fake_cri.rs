//! A container runtime in memory: sandboxes and containers are records, processes end when a test says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_proto_wire::cri::{
    BoxFuture, ContainerEvents, CriError, CriResult, Duplex, ExecSession, ImageService, RuntimeService,
    Streams, v1,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{broadcast, oneshot};

#[derive(Default)]
pub(super) struct State {
    pub sandboxes: BTreeMap<String, v1::PodSandboxStatus>,
    pub containers: BTreeMap<String, (String, v1::ContainerStatus)>,
    pub configs: BTreeMap<String, v1::ContainerConfig>,
    pub images: Vec<String>,
    /// Every call that changes something, in order.
    pub log: Vec<String>,
}

pub(super) struct FakeCri {
    pub state: Mutex<State>,
    events: broadcast::Sender<v1::ContainerEventResponse>,
    ids: AtomicU64,
}

fn matches(labels: &BTreeMap<String, String>, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}

fn ready<'a, T: Send + 'a>(value: CriResult<T>) -> BoxFuture<'a, CriResult<T>> {
    Box::pin(std::future::ready(value))
}

impl FakeCri {
    pub(super) fn new(images: &[&str]) -> Arc<Self> {
        let state = State { images: images.iter().map(|i| (*i).to_owned()).collect(), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), events: broadcast::channel(256).0, ids: AtomicU64::new(1) })
    }

    fn now() -> i64 {
        let wall = time::OffsetDateTime::now_utc();
        i64::try_from(wall.unix_timestamp_nanos()).unwrap()
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}{}", self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn tell(&self, state: &State, container: &str, kind: v1::ContainerEventType) {
        let sandbox = state.containers.get(container).and_then(|(s, _)| state.sandboxes.get(s)).cloned();
        self.events
            .send(v1::ContainerEventResponse {
                container_id: container.to_owned(),
                container_event_type: kind.into(),
                pod_sandbox_status: sandbox,
                ..Default::default()
            })
            .ok();
    }

    fn end(&self, state: &mut State, id: &str, code: i32) {
        let now = Self::now();
        let Some((_, status)) = state.containers.get_mut(id) else { return };
        if status.state() != v1::ContainerState::ContainerRunning {
            return;
        }
        status.set_state(v1::ContainerState::ContainerExited);
        status.exit_code = code;
        status.finished_at = now;
        self.tell(state, id, v1::ContainerEventType::ContainerStoppedEvent);
    }

    /// Ends the newest running container of this name.
    pub(super) fn exit(&self, name: &str, code: i32) {
        let mut state = self.state.lock();
        let found = state.containers.iter().rev().find(|(_, (_, s))| {
            s.metadata.as_ref().unwrap().name == name && s.state() == v1::ContainerState::ContainerRunning
        });
        let id = found.map(|(id, _)| id.clone()).expect("a running container");
        self.end(&mut state, &id, code);
    }

    /// The configuration of the newest container of this name.
    pub(super) fn config(&self, name: &str) -> Option<v1::ContainerConfig> {
        let state = self.state.lock();
        let mut all = state.configs.values().filter(|c| c.metadata.as_ref().unwrap().name == name);
        all.by_ref().max_by_key(|c| c.metadata.as_ref().unwrap().attempt).cloned()
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.state.lock().log.clone()
    }
}

impl RuntimeService for FakeCri {
    fn version(&self, _: v1::VersionRequest) -> BoxFuture<'_, CriResult<v1::VersionResponse>> {
        ready(Ok(v1::VersionResponse {
            runtime_name: "fake".into(),
            runtime_version: "1".into(),
            ..Default::default()
        }))
    }

    fn run_pod_sandbox(
        &self,
        request: v1::RunPodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::RunPodSandboxResponse>> {
        let config = request.config.unwrap();
        let id = self.id("s");
        let mut state = self.state.lock();
        state.log.push(format!("sandbox {}", config.metadata.as_ref().unwrap().name));
        let host = config.linux.as_ref().and_then(|l| l.security_context.as_ref()?.namespace_options.clone());
        let ip = if host.is_some_and(|n| n.network() == v1::NamespaceMode::Node) { "" } else { "10.9.0.2" };
        state.sandboxes.insert(
            id.clone(),
            v1::PodSandboxStatus {
                id: id.clone(),
                metadata: config.metadata,
                state: v1::PodSandboxState::SandboxReady.into(),
                created_at: Self::now(),
                network: Some(v1::PodSandboxNetworkStatus { ip: ip.into(), additional_ips: vec![] }),
                labels: config.labels,
                annotations: config.annotations,
                ..Default::default()
            },
        );
        ready(Ok(v1::RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    fn stop_pod_sandbox(
        &self,
        request: v1::StopPodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::StopPodSandboxResponse>> {
        let mut state = self.state.lock();
        state.log.push("stop-sandbox".into());
        if let Some(sandbox) = state.sandboxes.get_mut(&request.pod_sandbox_id) {
            sandbox.set_state(v1::PodSandboxState::SandboxNotready);
            sandbox.network = None;
        }
        ready(Ok(v1::StopPodSandboxResponse {}))
    }

    fn remove_pod_sandbox(
        &self,
        request: v1::RemovePodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::RemovePodSandboxResponse>> {
        let mut state = self.state.lock();
        state.log.push("remove-sandbox".into());
        state.sandboxes.remove(&request.pod_sandbox_id);
        state.containers.retain(|_, (sandbox, _)| *sandbox != request.pod_sandbox_id);
        ready(Ok(v1::RemovePodSandboxResponse {}))
    }

    fn pod_sandbox_status(
        &self,
        request: v1::PodSandboxStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::PodSandboxStatusResponse>> {
        let status = self.state.lock().sandboxes.get(&request.pod_sandbox_id).cloned();
        ready(match status {
            Some(status) => Ok(v1::PodSandboxStatusResponse { status: Some(status), ..Default::default() }),
            None => Err(CriError::not_found("no such sandbox")),
        })
    }

    fn list_pod_sandbox(
        &self,
        request: v1::ListPodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListPodSandboxResponse>> {
        let filter = request.filter.unwrap_or_default();
        let state = self.state.lock();
        let items = state.sandboxes.values().filter(|s| matches(&s.labels, &filter.label_selector));
        let items = items
            .map(|s| v1::PodSandbox {
                id: s.id.clone(),
                metadata: s.metadata.clone(),
                state: s.state,
                created_at: s.created_at,
                labels: s.labels.clone(),
                ..Default::default()
            })
            .collect();
        ready(Ok(v1::ListPodSandboxResponse { items }))
    }

    fn create_container(
        &self,
        request: v1::CreateContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::CreateContainerResponse>> {
        let config = request.config.unwrap();
        let id = self.id("c");
        let directory = request.sandbox_config.unwrap().log_directory;
        let mut state = self.state.lock();
        let name = config.metadata.as_ref().unwrap().name.clone();
        state.log.push(format!("create {name}"));
        let log_path = format!("{directory}/{}", config.log_path);
        std::fs::create_dir_all(std::path::Path::new(&log_path).parent().unwrap()).unwrap();
        std::fs::write(&log_path, format!("2024-01-01T00:00:00Z stdout F hello from {name}\n")).unwrap();
        let status = v1::ContainerStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: v1::ContainerState::ContainerCreated.into(),
            created_at: Self::now(),
            image: config.image.clone(),
            image_ref: "sha256:1".into(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            log_path,
            ..Default::default()
        };
        state.containers.insert(id.clone(), (request.pod_sandbox_id, status));
        state.configs.insert(id.clone(), config);
        ready(Ok(v1::CreateContainerResponse { container_id: id }))
    }

    fn start_container(
        &self,
        request: v1::StartContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::StartContainerResponse>> {
        let now = Self::now();
        let mut state = self.state.lock();
        let (_, status) = state.containers.get_mut(&request.container_id).unwrap();
        status.set_state(v1::ContainerState::ContainerRunning);
        status.started_at = now;
        let name = status.metadata.as_ref().unwrap().name.clone();
        state.log.push(format!("start {name}"));
        self.tell(&state, &request.container_id, v1::ContainerEventType::ContainerStartedEvent);
        ready(Ok(v1::StartContainerResponse {}))
    }

    fn stop_container(
        &self,
        request: v1::StopContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::StopContainerResponse>> {
        let mut state = self.state.lock();
        let name = state.containers.get(&request.container_id).map(|(_, s)| s.metadata.clone().unwrap().name);
        state.log.push(format!("stop {}", name.unwrap_or_default()));
        self.end(&mut state, &request.container_id, 143);
        ready(Ok(v1::StopContainerResponse {}))
    }

    fn remove_container(
        &self,
        request: v1::RemoveContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::RemoveContainerResponse>> {
        self.state.lock().containers.remove(&request.container_id);
        ready(Ok(v1::RemoveContainerResponse {}))
    }

    fn list_containers(
        &self,
        request: v1::ListContainersRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListContainersResponse>> {
        let filter = request.filter.unwrap_or_default();
        let state = self.state.lock();
        let all = state.containers.values().filter(|(_, c)| matches(&c.labels, &filter.label_selector));
        let containers = all
            .map(|(sandbox, c)| v1::Container {
                id: c.id.clone(),
                pod_sandbox_id: sandbox.clone(),
                metadata: c.metadata.clone(),
                state: c.state,
                labels: c.labels.clone(),
                ..Default::default()
            })
            .collect();
        ready(Ok(v1::ListContainersResponse { containers }))
    }

    fn container_status(
        &self,
        request: v1::ContainerStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::ContainerStatusResponse>> {
        let status = self.state.lock().containers.get(&request.container_id).map(|(_, c)| c.clone());
        ready(match status {
            Some(status) => Ok(v1::ContainerStatusResponse { status: Some(status), ..Default::default() }),
            None => Err(CriError::not_found("no such container")),
        })
    }

    fn update_container_resources(
        &self,
        _: v1::UpdateContainerResourcesRequest,
    ) -> BoxFuture<'_, CriResult<v1::UpdateContainerResourcesResponse>> {
        ready(Ok(v1::UpdateContainerResourcesResponse {}))
    }

    fn reopen_container_log(
        &self,
        _: v1::ReopenContainerLogRequest,
    ) -> BoxFuture<'_, CriResult<v1::ReopenContainerLogResponse>> {
        ready(Ok(v1::ReopenContainerLogResponse {}))
    }

    fn exec_sync(&self, request: v1::ExecSyncRequest) -> BoxFuture<'_, CriResult<v1::ExecSyncResponse>> {
        let exit_code = i32::from(request.cmd.first().map(String::as_str) == Some("false"));
        self.state.lock().log.push(format!("exec {}", request.cmd.join(" ")));
        ready(Ok(v1::ExecSyncResponse { exit_code, ..Default::default() }))
    }

    fn container_stats(
        &self,
        _: v1::ContainerStatsRequest,
    ) -> BoxFuture<'_, CriResult<v1::ContainerStatsResponse>> {
        ready(Ok(v1::ContainerStatsResponse::default()))
    }

    fn list_container_stats(
        &self,
        _: v1::ListContainerStatsRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListContainerStatsResponse>> {
        ready(Ok(v1::ListContainerStatsResponse::default()))
    }

    fn pod_sandbox_stats(
        &self,
        _: v1::PodSandboxStatsRequest,
    ) -> BoxFuture<'_, CriResult<v1::PodSandboxStatsResponse>> {
        ready(Ok(v1::PodSandboxStatsResponse::default()))
    }

    fn status(&self, _: v1::StatusRequest) -> BoxFuture<'_, CriResult<v1::StatusResponse>> {
        let on =
            |kind: &str| v1::RuntimeCondition { r#type: kind.into(), status: true, ..Default::default() };
        let status = v1::RuntimeStatus { conditions: vec![on("RuntimeReady"), on("NetworkReady")] };
        ready(Ok(v1::StatusResponse { status: Some(status), ..Default::default() }))
    }

    fn update_runtime_config(
        &self,
        _: v1::UpdateRuntimeConfigRequest,
    ) -> BoxFuture<'_, CriResult<v1::UpdateRuntimeConfigResponse>> {
        ready(Ok(v1::UpdateRuntimeConfigResponse {}))
    }

    fn get_container_events(&self) -> ContainerEvents {
        self.events.subscribe()
    }
}

impl ImageService for FakeCri {
    fn list_images(&self, _: v1::ListImagesRequest) -> BoxFuture<'_, CriResult<v1::ListImagesResponse>> {
        ready(Ok(v1::ListImagesResponse::default()))
    }

    fn image_status(
        &self,
        request: v1::ImageStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::ImageStatusResponse>> {
        let name = request.image.unwrap().image;
        let known = self.state.lock().images.contains(&name);
        let image = known.then(|| v1::Image {
            id: name,
            uid: Some(v1::Int64Value { value: 0 }),
            ..Default::default()
        });
        ready(Ok(v1::ImageStatusResponse { image, ..Default::default() }))
    }

    fn pull_image(&self, request: v1::PullImageRequest) -> BoxFuture<'_, CriResult<v1::PullImageResponse>> {
        let name = request.image.unwrap().image;
        self.state.lock().log.push(format!("pull {name}"));
        ready(Err(CriError::not_found(format!("{name} is not in the registry"))))
    }

    fn remove_image(&self, _: v1::RemoveImageRequest) -> BoxFuture<'_, CriResult<v1::RemoveImageResponse>> {
        ready(Ok(v1::RemoveImageResponse {}))
    }

    fn image_fs_info(&self, _: v1::ImageFsInfoRequest) -> BoxFuture<'_, CriResult<v1::ImageFsInfoResponse>> {
        ready(Ok(v1::ImageFsInfoResponse::default()))
    }
}

/// Copies its input to its output, then exits with the number in its first argument.
async fn echo(
    mut input: tokio::io::DuplexStream,
    mut output: tokio::io::DuplexStream,
    code: i32,
    exit: oneshot::Sender<CriResult<i32>>,
) {
    let mut chunk = [0; 1024];
    while let Ok(count @ 1..) = input.read(&mut chunk).await {
        output.write_all(&chunk[..count]).await.unwrap();
    }
    output.shutdown().await.unwrap();
    exit.send(Ok(code)).ok();
}

impl Streams for FakeCri {
    #[allow(clippy::disallowed_methods, reason = "a test's process")]
    fn exec(&self, request: v1::ExecRequest) -> BoxFuture<'_, CriResult<ExecSession>> {
        let code = request.cmd.get(1).and_then(|c| c.parse().ok()).unwrap_or(0);
        let (stdin, input) = tokio::io::duplex(4096);
        let (output, stdout) = tokio::io::duplex(4096);
        let (sender, exit) = oneshot::channel();
        tokio::spawn(echo(input, output, code, sender));
        let stdin = if request.stdin {
            Some(Box::new(stdin) as mainstay_proto_wire::cri::Input)
        } else {
            drop(stdin);
            None
        };
        ready(Ok(ExecSession { stdin, stdout: Some(Box::new(stdout)), stderr: None, resize: None, exit }))
    }

    fn attach(&self, _: v1::AttachRequest) -> BoxFuture<'_, CriResult<ExecSession>> {
        ready(Err(CriError::precondition("nothing to attach to")))
    }

    #[allow(clippy::disallowed_methods, reason = "a test's server")]
    fn port_forward(&self, _: String, port: u16) -> BoxFuture<'_, CriResult<Box<dyn Duplex>>> {
        if port != 80 {
            return ready(Err(CriError::new(
                mainstay_proto_wire::cri::Code::Unavailable,
                "connection refused",
            )));
        }
        let (near, mut far) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let mut text = Vec::new();
            far.read_to_end(&mut text).await.unwrap();
            far.write_all(&[b"you said ", text.as_slice()].concat()).await.unwrap();
            far.shutdown().await.unwrap();
        });
        ready(Ok(Box::new(near) as Box<dyn Duplex>))
    }
}
