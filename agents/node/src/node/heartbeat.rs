//! The node's Lease: renewed every ten seconds, which is how the cluster knows that the agent lives.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use mainstay_agents_kit::time::micro_time;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::agent::Agent;

const NAMESPACE: &str = "kube-node-lease";
const PERIOD: Duration = Duration::from_secs(10);
const DURATION_SECONDS: i32 = 40;
const RETRY: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(9);

/// Renews until stopped.
pub(crate) async fn run(agent: Arc<Agent>, stop: CancellationToken) {
    let api: Api<Lease> = Api::namespaced(agent.client.clone(), NAMESPACE);
    loop {
        let renewed = match tokio::time::timeout(DEADLINE, renew(&agent, &api)).await {
            Ok(outcome) => outcome.map_err(|e| e.to_string()),
            Err(_elapsed) => Err("the API did not answer in time".to_owned()),
        };
        let pause = match renewed {
            Ok(()) => PERIOD,
            Err(error) => {
                warn!(error, "renewing the node's lease failed");
                RETRY
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn renew(agent: &Agent, api: &Api<Lease>) -> Result<(), kube::Error> {
    let name = &agent.config.node_name;
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(DURATION_SECONDS),
        renew_time: Some(micro_time(agent.now())),
        ..LeaseSpec::default()
    };
    let patch = Patch::Merge(json!({"spec": spec}));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => return other.map(drop),
    }
    let node = Api::<Node>::all(agent.client.clone()).get_opt(name).await?;
    // The lease goes with its Node; without one it has no owner yet.
    let owner = node.and_then(|n| n.metadata.uid).map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid,
        ..OwnerReference::default()
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: owner.map(|o| vec![o]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
