//! The CRI traits: requests checked and passed on.

use super::runtime::Runtime;
use super::status;
use mainstay_proto_wire::cri::{
    BoxFuture, Code, ContainerEvents, CriError, CriResult, ImageService, RuntimeService, v1,
};
use std::time::Duration;

/// The CRI version that we speak.
const API_VERSION: &str = "v1";
/// What container ids are prefixed with in pod statuses.
const RUNTIME_NAME: &str = "mainstay";

fn seconds(timeout: i64) -> Duration {
    Duration::from_secs(u64::try_from(timeout).unwrap_or(0))
}

impl RuntimeService for Runtime {
    fn version(&self, _request: v1::VersionRequest) -> BoxFuture<'_, CriResult<v1::VersionResponse>> {
        Box::pin(async {
            Ok(v1::VersionResponse {
                version: "0.1.0".to_owned(),
                runtime_name: RUNTIME_NAME.to_owned(),
                runtime_version: mainstay_base::version().to_owned(),
                runtime_api_version: API_VERSION.to_owned(),
            })
        })
    }

    fn run_pod_sandbox(
        &self,
        request: v1::RunPodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::RunPodSandboxResponse>> {
        Box::pin(async move {
            if !request.runtime_handler.is_empty() {
                let text = format!("no runtime for {:?} is configured", request.runtime_handler);
                return Err(CriError::invalid(text));
            }
            let config =
                request.config.ok_or_else(|| CriError::invalid("the request has no configuration"))?;
            Ok(v1::RunPodSandboxResponse { pod_sandbox_id: self.run_sandbox(config).await? })
        })
    }

    fn stop_pod_sandbox(
        &self,
        request: v1::StopPodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::StopPodSandboxResponse>> {
        Box::pin(async move {
            self.stop_sandbox(&request.pod_sandbox_id).await?;
            Ok(v1::StopPodSandboxResponse {})
        })
    }

    fn remove_pod_sandbox(
        &self,
        request: v1::RemovePodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::RemovePodSandboxResponse>> {
        Box::pin(async move {
            self.remove_sandbox(&request.pod_sandbox_id).await?;
            Ok(v1::RemovePodSandboxResponse {})
        })
    }

    fn pod_sandbox_status(
        &self,
        request: v1::PodSandboxStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::PodSandboxStatusResponse>> {
        Box::pin(async move {
            let sandbox = self.sandbox(&request.pod_sandbox_id)?;
            let containers = self.containers_of(&request.pod_sandbox_id);
            Ok(v1::PodSandboxStatusResponse {
                status: Some(status::sandbox_status(&sandbox)),
                containers_statuses: containers.iter().map(|one| status::container_status(one)).collect(),
                timestamp: self.now(),
                ..Default::default()
            })
        })
    }

    fn list_pod_sandbox(
        &self,
        request: v1::ListPodSandboxRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListPodSandboxResponse>> {
        Box::pin(async move {
            let all: Vec<_> = self.sandboxes.lock().values().cloned().collect();
            let items = all.iter().map(|sandbox| status::sandbox_summary(sandbox));
            let wanted = |sandbox: &v1::PodSandbox| status::sandbox_wanted(sandbox, request.filter.as_ref());
            Ok(v1::ListPodSandboxResponse { items: items.filter(wanted).collect() })
        })
    }

    fn create_container(
        &self,
        request: v1::CreateContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::CreateContainerResponse>> {
        Box::pin(async move {
            let config =
                request.config.ok_or_else(|| CriError::invalid("the request has no configuration"))?;
            let container_id = self.create_container(&request.pod_sandbox_id, config).await?;
            Ok(v1::CreateContainerResponse { container_id })
        })
    }

    fn start_container(
        &self,
        request: v1::StartContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::StartContainerResponse>> {
        Box::pin(async move {
            self.start_container(&request.container_id).await?;
            Ok(v1::StartContainerResponse {})
        })
    }

    fn stop_container(
        &self,
        request: v1::StopContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::StopContainerResponse>> {
        Box::pin(async move {
            self.stop_container(&request.container_id, seconds(request.timeout)).await?;
            Ok(v1::StopContainerResponse {})
        })
    }

    fn remove_container(
        &self,
        request: v1::RemoveContainerRequest,
    ) -> BoxFuture<'_, CriResult<v1::RemoveContainerResponse>> {
        Box::pin(async move {
            self.remove_container(&request.container_id).await?;
            Ok(v1::RemoveContainerResponse {})
        })
    }

    fn list_containers(
        &self,
        request: v1::ListContainersRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListContainersResponse>> {
        Box::pin(async move {
            let all: Vec<_> = self.containers.lock().values().cloned().collect();
            let items = all.iter().map(|container| status::container_summary(container));
            let wanted =
                |container: &v1::Container| status::container_wanted(container, request.filter.as_ref());
            Ok(v1::ListContainersResponse { containers: items.filter(wanted).collect() })
        })
    }

    fn container_status(
        &self,
        request: v1::ContainerStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::ContainerStatusResponse>> {
        Box::pin(async move {
            let container = self.container(&request.container_id)?;
            let mut response = v1::ContainerStatusResponse {
                status: Some(status::container_status(&container)),
                ..Default::default()
            };
            if request.verbose
                && let super::runtime::Phase::Running { pid, .. } = container.phase()
            {
                response.info.insert("info".to_owned(), format!("{{\"pid\":{pid}}}"));
            }
            Ok(response)
        })
    }

    fn update_container_resources(
        &self,
        request: v1::UpdateContainerResourcesRequest,
    ) -> BoxFuture<'_, CriResult<v1::UpdateContainerResourcesResponse>> {
        Box::pin(async move {
            let wish = request.linux.ok_or_else(|| CriError::invalid("the request has no resources"))?;
            self.update_container(&request.container_id, wish).await?;
            Ok(v1::UpdateContainerResourcesResponse {})
        })
    }

    fn reopen_container_log(
        &self,
        request: v1::ReopenContainerLogRequest,
    ) -> BoxFuture<'_, CriResult<v1::ReopenContainerLogResponse>> {
        Box::pin(async move {
            self.reopen_log(&request.container_id).await?;
            Ok(v1::ReopenContainerLogResponse {})
        })
    }

    fn exec_sync(&self, request: v1::ExecSyncRequest) -> BoxFuture<'_, CriResult<v1::ExecSyncResponse>> {
        Box::pin(async move {
            let timeout = Some(seconds(request.timeout)).filter(|timeout| !timeout.is_zero());
            Ok(self.exec_to_end(&request.container_id, &request.cmd, timeout).await?)
        })
    }

    fn container_stats(
        &self,
        request: v1::ContainerStatsRequest,
    ) -> BoxFuture<'_, CriResult<v1::ContainerStatsResponse>> {
        Box::pin(async move {
            let container = self.container(&request.container_id)?;
            let stats = self.blocking(move |me| Ok(me.container_usage(&container))).await?;
            Ok(v1::ContainerStatsResponse { stats: Some(stats) })
        })
    }

    fn list_container_stats(
        &self,
        request: v1::ListContainerStatsRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListContainerStatsResponse>> {
        Box::pin(async move {
            let stats = self.blocking(move |me| Ok(me.all_usage(request.filter.as_ref()))).await?;
            Ok(v1::ListContainerStatsResponse { stats })
        })
    }

    fn pod_sandbox_stats(
        &self,
        request: v1::PodSandboxStatsRequest,
    ) -> BoxFuture<'_, CriResult<v1::PodSandboxStatsResponse>> {
        Box::pin(async move {
            let sandbox = self.sandbox(&request.pod_sandbox_id)?;
            let stats = self.blocking(move |me| Ok(me.sandbox_usage(&sandbox))).await?;
            Ok(v1::PodSandboxStatsResponse { stats: Some(stats) })
        })
    }

    fn status(&self, _request: v1::StatusRequest) -> BoxFuture<'_, CriResult<v1::StatusResponse>> {
        // A runtime that is open has its bridge and rules, or it would not have opened.
        let good = |kind: &str| v1::RuntimeCondition {
            r#type: kind.to_owned(),
            status: true,
            ..v1::RuntimeCondition::default()
        };
        Box::pin(async move {
            Ok(v1::StatusResponse {
                status: Some(v1::RuntimeStatus {
                    conditions: vec![good("RuntimeReady"), good("NetworkReady")],
                }),
                runtime_handlers: vec![v1::RuntimeHandler {
                    name: String::new(),
                    features: Some(v1::RuntimeHandlerFeatures {
                        recursive_read_only_mounts: true,
                        user_namespaces: false,
                    }),
                }],
                features: Some(v1::RuntimeFeatures {
                    supplemental_groups_policy: true,
                    ..Default::default()
                }),
                ..Default::default()
            })
        })
    }

    fn update_runtime_config(
        &self,
        request: v1::UpdateRuntimeConfigRequest,
    ) -> BoxFuture<'_, CriResult<v1::UpdateRuntimeConfigResponse>> {
        let cidr = request
            .runtime_config
            .and_then(|config| config.network_config)
            .map(|network| network.pod_cidr)
            .unwrap_or_default();
        Box::pin(async move {
            if cidr.is_empty() || cidr.parse() == Ok(self.config.pod_cidr) {
                return Ok(v1::UpdateRuntimeConfigResponse {});
            }
            let text = format!(
                "this node's pods have {}, it cannot change to {cidr} while it runs",
                self.config.pod_cidr
            );
            Err(CriError::new(Code::FailedPrecondition, text))
        })
    }

    fn get_container_events(&self) -> ContainerEvents {
        self.events.subscribe()
    }
}

/// The images are a service of their own; the runtime is one too, so that one object serves a node agent.
impl ImageService for Runtime {
    fn list_images(
        &self,
        request: v1::ListImagesRequest,
    ) -> BoxFuture<'_, CriResult<v1::ListImagesResponse>> {
        self.images.list_images(request)
    }

    fn image_status(
        &self,
        request: v1::ImageStatusRequest,
    ) -> BoxFuture<'_, CriResult<v1::ImageStatusResponse>> {
        self.images.image_status(request)
    }

    fn pull_image(&self, request: v1::PullImageRequest) -> BoxFuture<'_, CriResult<v1::PullImageResponse>> {
        self.images.pull_image(request)
    }

    fn remove_image(
        &self,
        request: v1::RemoveImageRequest,
    ) -> BoxFuture<'_, CriResult<v1::RemoveImageResponse>> {
        self.images.remove_image(request)
    }

    fn image_fs_info(
        &self,
        request: v1::ImageFsInfoRequest,
    ) -> BoxFuture<'_, CriResult<v1::ImageFsInfoResponse>> {
        self.images.image_fs_info(request)
    }
}
