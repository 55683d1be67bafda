//! Takes the finalizers of volumes and claims away once nobody uses them (upstream's `pvc-protection` and `pv-protection`):
//! a claim while a placed pod names it, a volume while it is bound. Those that were made without a finalizer get theirs.

use std::sync::Arc;

use crate::pods;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
/// Index of pods by the claims that they name.
const BY_CLAIM: &str = "claim";

/// Protects claims.
pub(crate) struct ClaimProtection {
    claims: Reader<PersistentVolumeClaim>,
    pods: Reader<Pod>,
}

/// A claim, and whether a pod uses it.
pub(crate) struct ClaimWorld {
    claim: Arc<PersistentVolumeClaim>,
    is_used: bool,
}

/// Protects volumes.
pub(crate) struct VolumeProtection {
    volumes: Reader<PersistentVolume>,
}

impl ClaimProtection {
    pub(crate) fn new(informers: &Informers) -> Self {
        let pods: Reader<Pod> = informers.reader();
        pods.add_index(BY_CLAIM, |pod| claims_of(pod).iter().map(ToString::to_string).collect());
        Self { claims: informers.reader(), pods }
    }
}

impl VolumeProtection {
    pub(crate) fn new(informers: &Informers) -> Self {
        Self { volumes: informers.reader() }
    }
}

/// The claims that a pod names: those of others, and its own ephemeral ones.
fn claims_of(pod: &Pod) -> Vec<ObjectKey> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| {
        let named = volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone());
        named.or_else(|| volume.ephemeral.as_ref().map(|_| format!("{name}-{}", volume.name)))
    };
    volumes.filter_map(claim).map(|claim| ObjectKey::new(namespace, claim)).collect()
}

impl Reconciler for ClaimProtection {
    type World = ClaimWorld;

    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::of(&self.claims), Watch::map(&self.pods, claims_of)]
    }

    async fn observe(&self, key: &ObjectKey, _now: Timestamp) -> Result<Option<ClaimWorld>, ObserveError> {
        let Some(claim) = self.claims.get(key) else { return Ok(None) };
        // As upstream: a node starts no pod whose claim is being deleted, so that only placed pods count.
        let pods = self.pods.by_index(BY_CLAIM, &key.to_string());
        let is_used = pods.iter().any(|pod| pods::node_name(pod).is_some());
        Ok(Some(ClaimWorld { claim, is_used }))
    }

    fn plan(&self, world: &ClaimWorld) -> (Vec<Step>, Next) {
        let wanted = finalizers(&world.claim.metadata, CLAIM_FINALIZER, world.is_used);
        let step = wanted.map(|finalizers| {
            let mut claim = PersistentVolumeClaim::clone(&world.claim);
            claim.metadata.finalizers = Some(finalizers);
            Step::replace(&claim)
        });
        (step.into_iter().collect(), Next::Done)
    }
}

impl Reconciler for VolumeProtection {
    type World = Arc<PersistentVolume>;

    fn name(&self) -> &'static str {
        "persistentvolume-protection"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::of(&self.volumes)]
    }

    async fn observe(&self, key: &ObjectKey, _now: Timestamp) -> Result<Option<Self::World>, ObserveError> {
        Ok(self.volumes.get(key))
    }

    fn plan(&self, volume: &Self::World) -> (Vec<Step>, Next) {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let wanted = finalizers(&volume.metadata, VOLUME_FINALIZER, phase == Some("Bound"));
        let step = wanted.map(|finalizers| {
            let mut volume = PersistentVolume::clone(volume);
            volume.metadata.finalizers = Some(finalizers);
            Step::replace(&volume)
        });
        (step.into_iter().collect(), Next::Done)
    }
}

/// An object's finalizers as they should be; none where they are so.
fn finalizers(meta: &ObjectMeta, finalizer: &str, is_used: bool) -> Option<Vec<String>> {
    let held: Vec<String> = meta.finalizers.clone().unwrap_or_default();
    let has = held.iter().any(|one| one == finalizer);
    match (meta.deletion_timestamp.is_some(), has) {
        (true, true) if !is_used => Some(held.into_iter().filter(|one| one != finalizer).collect()),
        (false, false) => Some(held.into_iter().chain([finalizer.to_owned()]).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meta(finalizers: &[&str], deleted: bool) -> ObjectMeta {
        let time = deleted.then(|| json!("2026-01-01T00:00:00Z"));
        serde_json::from_value(json!({"finalizers": finalizers, "deletionTimestamp": time})).unwrap()
    }

    #[test]
    fn the_finalizer_goes_when_a_deleted_object_is_not_used_any_more() {
        let patch = |finalizers: &[&str], deleted, used| {
            super::finalizers(&meta(finalizers, deleted), CLAIM_FINALIZER, used)
        };
        assert_eq!(patch(&[CLAIM_FINALIZER, "x"], true, false), Some(vec!["x".to_owned()]));
        assert_eq!(patch(&[CLAIM_FINALIZER], true, true), None);
        assert_eq!(patch(&["x"], true, false), None, "it is not put back");
        assert_eq!(patch(&[CLAIM_FINALIZER], false, false), None);
        assert_eq!(patch(&["x"], false, false), Some(vec!["x".to_owned(), CLAIM_FINALIZER.to_owned()]));
    }

    #[test]
    fn a_pod_names_the_claims_of_its_volumes() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "p"}, "spec": {
            "containers": [], "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "c"}},
                {"name": "b", "ephemeral": {}}, {"name": "e", "emptyDir": {}}]}}))
        .unwrap();
        let names: Vec<String> = claims_of(&pod).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["ns/c", "ns/p-b"]);
    }
}
