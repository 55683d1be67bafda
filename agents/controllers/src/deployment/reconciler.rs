//! Observes a deployment, its replica sets and their pods.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::owner::{controller_of, uid};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;
use mainstay_agents_kit::{ObjectKey, selector_of};

use super::plan;
use super::world::World;
use crate::ownership::{claim, may_adopt};
use crate::pods;

const BY_CONTROLLER: &str = "controller";
const ORPHANS: &str = "orphans";

/// Rolls deployments out.
pub(crate) struct DeploymentController {
    client: kube::Client,
    deployments: Reader<Deployment>,
    replica_sets: Reader<ReplicaSet>,
    pods: Reader<Pod>,
}

impl DeploymentController {
    pub(crate) fn new(informers: &Informers) -> Self {
        let pods = informers.reader();
        pods::index(&pods);
        let replica_sets: Reader<ReplicaSet> = informers.reader();
        replica_sets.add_index(BY_CONTROLLER, |replica_set| {
            controller_of(&replica_set.metadata).map(|owner| owner.uid.clone()).into_iter().collect()
        });
        replica_sets.add_index(ORPHANS, |replica_set| match controller_of(&replica_set.metadata) {
            Some(_) => Vec::new(),
            None => replica_set.metadata.namespace.clone().into_iter().collect(),
        });
        Self { client: informers.client(), deployments: informers.reader(), replica_sets, pods }
    }
}

impl Reconciler for DeploymentController {
    type World = World;

    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let deployments = self.deployments.clone();
        let candidates = move |replica_set: &ReplicaSet| {
            let namespace = replica_set.metadata.namespace.as_deref().unwrap_or_default();
            if controller_of(&replica_set.metadata).is_some() {
                return Vec::new();
            }
            let selects = |deployment: &Deployment| {
                selector_of(Some(&deployment.spec.selector))
                    .is_ok_and(|selector| selector.matches(&replica_set.metadata.labels))
            };
            deployments
                .list_in(namespace)
                .iter()
                .filter(|deployment| selects(deployment))
                .map(|deployment| ObjectKey::of(deployment.as_ref()))
                .collect()
        };
        // A Recreate rollout waits for the old pods to be gone, which no replica set shows.
        let replica_sets = self.replica_sets.clone();
        let deployment_of_pod = move |pod: &Pod| {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet");
            let replica_set = owner.and_then(|owner| replica_sets.get_named(&namespace, &owner.name));
            let Some(replica_set) = replica_set else { return Vec::new() };
            controller_of(&replica_set.metadata)
                .map(|owner| ObjectKey::new(namespace, owner.name.clone()))
                .into_iter()
                .collect()
        };
        let recreating = self.deployments.clone();
        let gone_pods = move |pod: &Pod| {
            let mut keys: Vec<ObjectKey> = deployment_of_pod(pod);
            keys.retain(|key| recreating.get(key).is_some_and(|deployment| is_recreate(&deployment)));
            keys
        };
        vec![
            Watch::of(&self.deployments),
            Watch::controlled_by::<Deployment, _>(&self.replica_sets),
            Watch::map(&self.replica_sets, candidates),
            Watch::map(&self.pods, gone_pods),
        ]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(None) };
        let selector = selector_of(Some(&deployment.spec.selector))
            .map_err(|error| ObserveError::new(format!("the selector of {key}"), error))?;
        let controlled = self.replica_sets.by_index(BY_CONTROLLER, uid(&deployment.metadata));
        let orphans = self.replica_sets.by_index(ORPHANS, &key.namespace);
        let mut replica_sets = claim(&selector, controlled, orphans);
        if !replica_sets.to_adopt.is_empty() {
            let api = Api::<Deployment>::namespaced(self.client.clone(), &key.namespace);
            if !may_adopt(&api, &deployment.metadata).await? {
                replica_sets.to_adopt.clear();
            }
        }
        let pods = replica_sets
            .owned
            .iter()
            .flat_map(|replica_set| self.pods.by_index(pods::BY_CONTROLLER, uid(&replica_set.metadata)))
            .collect();
        let by_name = |name: &str| self.replica_sets.get_named(&key.namespace, name);
        Ok(Some(World::new(deployment, replica_sets, pods, by_name, now)))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan::plan(world)
    }
}

fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}
