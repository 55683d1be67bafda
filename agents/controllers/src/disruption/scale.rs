//! How many pods the controller of a pod wants: of a replica set, its deployment's wish counts; of what is none of the
//! built-in controllers, its scale subresource.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ApiResource, DynamicObject};
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::owner::controller_of;
use mainstay_agents_kit::reconcile::ObserveError;

use crate::discovery::discover;

/// Replicas that are wanted when a spec says nothing.
const DEFAULT_REPLICAS: i32 = 1;

/// Finds the controllers of pods.
pub(super) struct ScaleFinder {
    client: kube::Client,
    deployments: Reader<Deployment>,
    replica_sets: Reader<ReplicaSet>,
    stateful_sets: Reader<StatefulSet>,
    replication_controllers: Reader<ReplicationController>,
}

impl ScaleFinder {
    pub(super) fn new(informers: &Informers) -> Self {
        Self {
            client: informers.client(),
            deployments: informers.reader(),
            replica_sets: informers.reader(),
            stateful_sets: informers.reader(),
            replication_controllers: informers.reader(),
        }
    }

    /// The uid and wish of a pod's controller; none when it is gone.
    pub(super) async fn find(
        &self,
        owner: &OwnerReference,
        namespace: &str,
    ) -> Result<Option<(String, i32)>, ObserveError> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let key = ObjectKey::new(namespace, owner.name.clone());
        let found = match (group, owner.kind.as_str()) {
            ("apps" | "extensions", "ReplicaSet") => return Ok(self.of_replica_set(owner, &key)),
            ("apps", "StatefulSet") => {
                let found = self.stateful_sets.get(&key);
                found.map(|found| (found.metadata.uid.clone(), found.spec.replicas))
            }
            ("", "ReplicationController") => {
                let found = self.replication_controllers.get(&key);
                found.map(|one| (one.metadata.uid.clone(), one.spec.as_ref().and_then(|spec| spec.replicas)))
            }
            _ => return self.of_scale(owner, group, namespace).await,
        };
        Ok(of_owner(owner, found))
    }

    fn of_replica_set(&self, owner: &OwnerReference, key: &ObjectKey) -> Option<(String, i32)> {
        let replica_set = self.replica_sets.get(key)?;
        let above = controller_of(&replica_set.metadata).filter(|above| above.kind == "Deployment");
        let Some(above) = above else {
            return of_owner(owner, Some((replica_set.metadata.uid.clone(), replica_set.spec.replicas)));
        };
        let deployment = self.deployments.get(&ObjectKey::new(key.namespace.clone(), above.name.clone()))?;
        of_owner(above, Some((deployment.metadata.uid.clone(), deployment.spec.replicas)))
    }

    async fn of_scale(
        &self,
        owner: &OwnerReference,
        group: &str,
        namespace: &str,
    ) -> Result<Option<(String, i32)>, ObserveError> {
        let what = || format!("the scale of {} {namespace}/{}", owner.kind, owner.name);
        let resources = discover(&self.client).await.map_err(|error| ObserveError::new(what(), error))?;
        let resource = resources
            .into_iter()
            .map(|found| found.resource)
            .find(|resource| resource.group == group && resource.kind == owner.kind);
        let Some(resource) = resource else { return Ok(None) };
        match self.scale_of(&resource, namespace, &owner.name).await {
            Ok(scale) => {
                let wanted = scale.spec.and_then(|spec| spec.replicas).unwrap_or_default();
                Ok(of_owner(owner, Some((scale.metadata.uid, Some(wanted)))))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(ObserveError::new(what(), error)),
        }
    }

    async fn scale_of(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Result<Scale, kube::Error> {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, resource);
        let object = api.get_subresource("scale", name).await?;
        let tree = serde_json::to_value(&object).map_err(kube::Error::SerdeError)?;
        serde_json::from_value(tree).map_err(kube::Error::SerdeError)
    }
}

/// The found controller, if it is the one that is meant.
fn of_owner(owner: &OwnerReference, found: Option<(Option<String>, Option<i32>)>) -> Option<(String, i32)> {
    let (uid, replicas) = found?;
    let uid = uid.filter(|uid| *uid == owner.uid)?;
    Some((uid, replicas.unwrap_or(DEFAULT_REPLICAS)))
}
