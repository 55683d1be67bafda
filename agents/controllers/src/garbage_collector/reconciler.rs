//! Observes objects by uid, in all resources that discovery shows.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::Informers;
use mainstay_agents_kit::owner::uid;
use mainstay_agents_kit::reconcile::{Drive, Next, ObserveError, Reconciler, Watch, drive};
use mainstay_agents_kit::step::Step;
use mainstay_base::lifecycle::{Backoff, Tasks};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::caches::{Caches, Metadata};
use super::owners::Owners;
use super::plan;
use super::world::{FOREGROUND, Item, ORPHAN, World};
use crate::discovery::{Discovered, discover};

const DISCOVERY_RETRY_MAX: Duration = Duration::from_secs(10);

/// Starts the collector as soon as the API server says which resources it has.
pub(crate) fn start(informers: &Informers, settings: Drive, tasks: &Tasks) {
    let (informers, group) = (informers.clone(), tasks.clone());
    let stop = tasks.token();
    tasks.spawn("garbage-collector discovery", async move {
        let Some(resources) = discovered(&informers, &stop).await else { return };
        info!(resources = resources.len(), "watching what can own or be owned");
        let watched: Vec<Discovered> = resources
            .iter()
            .filter(|discovered| discovered.has(&["delete", "list", "watch"]) && !discovered.is_events())
            .cloned()
            .collect();
        let caches = Caches::new(&informers, &watched);
        let owners = Owners::new(informers.client(), caches.clone(), resources);
        drive(GarbageCollector { caches, owners: Arc::new(owners) }, settings, &group);
    });
}

async fn discovered(informers: &Informers, stop: &CancellationToken) -> Option<Vec<Discovered>> {
    let mut backoff = Backoff::new(Duration::from_millis(100), DISCOVERY_RETRY_MAX);
    loop {
        let client = informers.client();
        let attempt = async {
            match discover(&client).await {
                Ok(resources) => Some(resources),
                Err(error) => {
                    warn!(%error, "discovering the API's resources failed");
                    backoff.wait().await;
                    None
                }
            }
        };
        // An attempt that is dropped has only read.
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            found = attempt => if found.is_some() { return found },
        }
    }
}

struct GarbageCollector {
    caches: Caches,
    owners: Arc<Owners>,
}

/// The uids to look at after a change of an object.
fn concerned(caches: &Caches, old: Option<&Metadata>, new: Option<&Metadata>) -> Vec<ObjectKey> {
    let mut uids: Vec<String> = Vec::new();
    let is_same = |a: &Metadata, b: &Metadata| a.metadata.uid == b.metadata.uid;
    if let Some(gone) = old.filter(|old| new.is_none_or(|new| !is_same(old, new))) {
        // Its dependents lost an owner; an owner that waits for it may go on.
        uids.extend(caches.dependents(uid(&gone.metadata)).iter().map(|item| uid(&item.meta).to_owned()));
        uids.extend(gone.metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone()));
    }
    if let Some(new) = new {
        let before = old.filter(|old| is_same(old, new));
        let references = |object: &Metadata| object.metadata.owner_references.clone().unwrap_or_default();
        let deletion = |object: &Metadata| {
            (object.metadata.deletion_timestamp.is_some(), object.metadata.finalizers.clone())
        };
        let owners_changed =
            before.map_or_else(|| !references(new).is_empty(), |old| references(old) != references(new));
        let deletion_changed = before.is_none_or(|old| deletion(old) != deletion(new));
        let has_our_finalizer =
            new.metadata.finalizers.iter().flatten().any(|name| name == FOREGROUND || name == ORPHAN);
        let awaits = new.metadata.deletion_timestamp.is_some() && deletion_changed && has_our_finalizer;
        if owners_changed || awaits {
            uids.push(uid(&new.metadata).to_owned());
        }
        if owners_changed {
            // An owner that waited for this object no longer does.
            let old_owners = before.map(references).unwrap_or_default();
            uids.extend(old_owners.into_iter().map(|owner| owner.uid));
        }
        if awaits {
            uids.extend(caches.dependents(uid(&new.metadata)).iter().map(|item| uid(&item.meta).to_owned()));
        }
    }
    uids.into_iter().map(ObjectKey::cluster).collect()
}

impl Reconciler for GarbageCollector {
    type World = World;

    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let watch = |reader| {
            let caches = self.caches.clone();
            Watch::changes(reader, move |old, new| concerned(&caches, old, new))
        };
        self.caches.readers().map(watch).collect()
    }

    async fn observe(&self, key: &ObjectKey, _now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(item) = self.caches.by_uid(&key.name) else { return Ok(None) };
        let needs_owners = !item.is_deleting();
        let owners = if needs_owners { self.owners.of(&item).await? } else { Vec::new() };
        let dependents: Vec<Item> = self.caches.dependents(&key.name);
        Ok(Some(World { item, owners, dependents }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan::plan(world)
    }
}
