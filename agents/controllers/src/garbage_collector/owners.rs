//! What is known of an object's owners.

use std::collections::HashSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ApiResource};
use mainstay_agents_kit::reconcile::ObserveError;
use parking_lot::Mutex;

use super::caches::{Caches, Metadata};
use super::world::{Item, OwnerState};
use crate::discovery::Discovered;

/// Uids of owners known to be absent that are remembered; a uid never comes back.
const ABSENT_MAX: usize = 4096;

/// Looks owners up, in the caches and where they say nothing, at the API server.
pub(super) struct Owners {
    client: kube::Client,
    caches: Caches,
    resources: Vec<Discovered>,
    absent: Mutex<HashSet<String>>,
}

impl Owners {
    pub(super) fn new(client: kube::Client, caches: Caches, resources: Vec<Discovered>) -> Self {
        Self { client, caches, resources, absent: Mutex::default() }
    }

    /// The states of all owners of `item`.
    pub(super) async fn of(&self, item: &Item) -> Result<Vec<(OwnerReference, OwnerState)>, ObserveError> {
        let mut owners = Vec::new();
        for reference in item.meta.owner_references.iter().flatten() {
            owners.push((reference.clone(), self.state(item, reference).await?));
        }
        Ok(owners)
    }

    async fn state(&self, item: &Item, reference: &OwnerReference) -> Result<OwnerState, ObserveError> {
        if let Some(owner) = self.caches.by_uid(&reference.uid)
            && fits(&owner, reference, item)
        {
            return Ok(if owner.awaits_dependents() { OwnerState::Waiting } else { OwnerState::Solid });
        }
        if self.absent.lock().contains(&reference.uid) {
            return Ok(OwnerState::Dangling);
        }
        self.ask(item, reference).await
    }

    /// Asks the API server for the owner by name and compares the uid.
    async fn ask(&self, item: &Item, reference: &OwnerReference) -> Result<OwnerState, ObserveError> {
        let what = format!("owner {} {}", reference.kind, reference.name);
        let Some((resource, namespaced)) = self.resource_of(reference) else {
            return Err(ObserveError::new(
                what,
                format!("no resource {} {}", reference.api_version, reference.kind),
            ));
        };
        let api: Api<Metadata> = match (&item.meta.namespace, namespaced) {
            (Some(namespace), true) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            // A cluster-scoped object cannot be owned by a namespaced one: there is nothing to find.
            (None, true) => return Ok(OwnerState::Dangling),
            (_, false) => Api::all_with(self.client.clone(), &resource),
        };
        let found =
            api.get_metadata_opt(&reference.name).await.map_err(|error| ObserveError::new(what, error))?;
        if let Some(owner) = found.filter(|owner| owner.metadata.uid.as_ref() == Some(&reference.uid)) {
            let kind = item.kind.clone();
            let owner = Item { kind, meta: owner.metadata };
            return Ok(if owner.awaits_dependents() { OwnerState::Waiting } else { OwnerState::Solid });
        }
        let mut absent = self.absent.lock();
        if absent.len() >= ABSENT_MAX {
            absent.clear();
        }
        absent.insert(reference.uid.clone());
        Ok(OwnerState::Dangling)
    }

    /// The resource of a reference; of another version of a known group, the version that the reference names.
    fn resource_of(&self, reference: &OwnerReference) -> Option<(ApiResource, bool)> {
        let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
        let known = self.resources.iter().find(|discovered| {
            discovered.resource.group == group && discovered.resource.kind == reference.kind
        })?;
        let mut resource = known.resource.clone();
        version.clone_into(&mut resource.version);
        resource.api_version.clone_from(&reference.api_version);
        Some((resource, known.namespaced))
    }
}

/// Whether the object of the uid is what the reference says, where the reference may reach.
fn fits(owner: &Item, reference: &OwnerReference, item: &Item) -> bool {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    let same_namespace = owner.meta.namespace.is_none() || owner.meta.namespace == item.meta.namespace;
    owner.kind.group == group
        && owner.kind.kind == reference.kind
        && owner.meta.name.as_ref() == Some(&reference.name)
        && same_namespace
}
