//! Adoption and release: which objects of a selector a controller owns. Pure, except for the last look before adopting.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::Api;
use kube::core::ObjectMeta;
use mainstay_agents_kit::informer::Informed;
use mainstay_agents_kit::owner::uid;
use mainstay_agents_kit::reconcile::ObserveError;
use mainstay_agents_kit::step::{PatchKind, Step, Target};
use mainstay_proto_api::label::Selector;
use serde_json::json;

/// The objects of one controller, sorted by what is to be done about them.
#[derive(Clone, Debug)]
pub(crate) struct Claimed<K> {
    /// Owned and selected.
    pub(crate) owned: Vec<Arc<K>>,
    /// Owned but no longer selected.
    pub(crate) to_release: Vec<Arc<K>>,
    /// Selected and without a controller.
    pub(crate) to_adopt: Vec<Arc<K>>,
}

/// Sorts `controlled` (objects that name the controller) and `orphans` (objects that name none) by `selector`.
pub(crate) fn claim<K: kube::Resource>(
    selector: &Selector,
    controlled: Vec<Arc<K>>,
    orphans: Vec<Arc<K>>,
) -> Claimed<K> {
    let (owned, to_release) =
        controlled.into_iter().partition(|object| selector.matches(&object.meta().labels));
    let to_adopt = orphans
        .into_iter()
        .filter(|object| {
            selector.matches(&object.meta().labels) && object.meta().deletion_timestamp.is_none()
        })
        .collect();
    Claimed { owned, to_release, to_adopt }
}

/// Adds `owner` to the object's owners if it is still the object of the same uid.
pub(crate) fn adopt<K: kube::Resource<DynamicType = ()>>(object: &K, owner: &OwnerReference) -> Step {
    metadata_patch(object, &json!({"ownerReferences": [owner], "uid": object.meta().uid}))
}

/// Removes the owner of this uid from the object's owners.
pub(crate) fn release<K: kube::Resource<DynamicType = ()>>(object: &K, owner_uid: &str) -> Step {
    let removal = json!([{"$patch": "delete", "uid": owner_uid}]);
    metadata_patch(object, &json!({"ownerReferences": removal, "uid": object.meta().uid}))
}

fn metadata_patch<K: kube::Resource<DynamicType = ()>>(object: &K, metadata: &serde_json::Value) -> Step {
    let body = json!({ "metadata": metadata });
    Step::Patch { target: Target::of(object), subresource: None, kind: PatchKind::Strategic, body }
}

/// Asks the API server itself whether the controller still exists and is not being deleted: adopting for one that only
/// the cache still knows would undo an orphaning deletion.
pub(crate) async fn may_adopt<K: Informed>(api: &Api<K>, meta: &ObjectMeta) -> Result<bool, ObserveError> {
    let name = meta.name.as_deref().unwrap_or_default();
    let fresh = api.get_metadata_opt(name).await.map_err(|error| ObserveError::new(name, error))?;
    Ok(fresh.is_some_and(|fresh| {
        uid(&fresh.metadata) == uid(meta) && fresh.metadata.deletion_timestamp.is_none()
    }))
}
