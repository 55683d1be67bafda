//! The one call that writes a pod's status.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::Value;

use super::act::Work;
use super::outcome::Outcome;

const DEADLINE: Duration = Duration::from_secs(30);

impl Work {
    /// Patches the status subresource; the uid in the patch makes it miss a new pod of the same name.
    pub(super) async fn patch_status(self, patch: Value, wanted: PodStatus) -> Outcome {
        let meta = &self.pod.metadata;
        let api: Api<Pod> =
            Api::namespaced(self.agent.client.clone(), meta.namespace.as_deref().unwrap_or("default"));
        let name = meta.name.clone().unwrap_or_default();
        let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
        let call = api.patch_status(&name, &params, &patch);
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(Ok(pod)) if pod.metadata.uid.as_deref() == Some(&self.uid) => Outcome::StatusWritten {
                // Not the answer's: the API may spell the same status another way, which is nothing to write again.
                status: Box::new(wanted),
                resource_version: pod.metadata.resource_version.unwrap_or_default(),
            },
            Ok(Ok(_other)) => Outcome::StatusGone,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Outcome::StatusGone,
            Ok(Err(kube::Error::Api(status))) if status.code == 409 && status.message.contains("uid") => {
                Outcome::StatusGone
            }
            Ok(Err(error)) => Outcome::StatusFailed(error.to_string()),
            Err(_elapsed) => Outcome::StatusFailed("the API did not answer in time".to_owned()),
        }
    }
}
