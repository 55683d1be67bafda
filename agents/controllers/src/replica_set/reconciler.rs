//! Observes a replica set and its pods.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::owner::uid;
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::{ActError, Step};
use mainstay_agents_kit::{ObjectKey, selector_of};
use rand::Rng;

use super::plan;
use super::world::World;
use crate::ownership::{claim, may_adopt};
use crate::pods;

/// Keeps the asked number of pods for each replica set.
pub(crate) struct ReplicaSetController {
    client: kube::Client,
    replica_sets: Reader<ReplicaSet>,
    pods: Reader<Pod>,
}

impl ReplicaSetController {
    pub(crate) fn new(informers: &Informers) -> Self {
        let pods = informers.reader();
        pods::index(&pods);
        Self { client: informers.client(), replica_sets: informers.reader(), pods }
    }
}

impl Reconciler for ReplicaSetController {
    type World = World;

    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let replica_sets = self.replica_sets.clone();
        let candidates = move |pod: &Pod| {
            // An orphan concerns every replica set that selects it.
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let selects = |replica_set: &ReplicaSet| {
                selector_of(Some(&replica_set.spec.selector))
                    .is_ok_and(|selector| selector.matches(&pod.metadata.labels))
            };
            match mainstay_agents_kit::owner::controller_of(&pod.metadata) {
                Some(_) => Vec::new(),
                None => replica_sets
                    .list_in(namespace)
                    .iter()
                    .filter(|replica_set| selects(replica_set))
                    .map(|replica_set| ObjectKey::of(replica_set.as_ref()))
                    .collect(),
            }
        };
        vec![
            Watch::of(&self.replica_sets),
            Watch::controlled_by::<ReplicaSet, _>(&self.pods),
            Watch::map(&self.pods, candidates),
        ]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(replica_set) = self.replica_sets.get(key) else { return Ok(None) };
        let selector = selector_of(Some(&replica_set.spec.selector))
            .map_err(|error| ObserveError::new(format!("the selector of {key}"), error))?;
        let controlled = self.pods.by_index(pods::BY_CONTROLLER, uid(&replica_set.metadata));
        let mut pods = claim(&selector, controlled, self.pods.by_index(pods::ORPHANS, &key.namespace));
        pods.to_adopt.retain(|pod| pods::is_active(pod));
        if !pods.to_adopt.is_empty() {
            let api = Api::<ReplicaSet>::namespaced(self.client.clone(), &key.namespace);
            if !may_adopt(&api, &replica_set.metadata).await? {
                pods.to_adopt.clear();
            }
        }
        Ok(Some(World { replica_set, pods, now, nonce: rand::rng().random() }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan::plan(world)
    }

    fn failed(&self, world: &World, error: &ActError) -> Vec<Step> {
        plan::failed(world, error)
    }
}
