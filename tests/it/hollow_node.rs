//! A node without containers: it says that it is Ready, that its pods run, and lets them go when they are deleted.

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use mainstay_base::lifecycle::Tasks;
use serde_json::json;

/// One such node.
pub(crate) struct HollowNode {
    name: String,
    client: Client,
}

impl HollowNode {
    /// Registers the node and starts it.
    pub(crate) async fn start(name: &str, client: Client, tasks: &Tasks) {
        let nodes: Api<Node> = Api::all(client.clone());
        let capacity = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        });
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        let status = json!({"status": {
            "capacity": capacity, "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "hollow"}],
        }});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
        let node = Self { name: name.to_owned(), client };
        let stop = tasks.token();
        tasks.spawn("hollow-node", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                ended = node.run() => ended,
            }
        });
    }

    async fn run(&self) -> Result<(), kube::Error> {
        let all: Api<Pod> = Api::all(self.client.clone());
        let field = format!("spec.nodeName={}", self.name);
        let list = all.list(&ListParams::default().fields(&field)).await?;
        let mut version = list.metadata.resource_version.unwrap_or_default();
        for pod in list.items {
            self.tend(&pod).await?;
        }
        loop {
            let params = WatchParams::default().fields(&field).timeout(60);
            let mut events = std::pin::pin!(all.watch(&params, &version).await?);
            while let Some(event) = events.try_next().await? {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                        version = pod.resource_version().unwrap_or_default();
                        self.tend(&pod).await?;
                    }
                    WatchEvent::Deleted(pod) => version = pod.resource_version().unwrap_or_default(),
                    WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
                    WatchEvent::Error(error) => return Err(kube::Error::Api(error)),
                }
            }
        }
    }

    /// What a kubelet would end up saying of the pod.
    async fn tend(&self, pod: &Pod) -> Result<(), kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        let done = if pod.metadata.deletion_timestamp.is_some() {
            pods.delete(&name, &DeleteParams::default().grace_period(0)).await.map(drop)
        } else if pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending") {
            let status = json!({"status": {
                "phase": "Running", "podIP": "192.0.2.9", "podIPs": [{"ip": "192.0.2.9"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            }});
            pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await.map(drop)
        } else {
            Ok(())
        };
        match done {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()), // it went on without us
            other => other,
        }
    }
}
