//! Events that are older than a resource's ring, out of the store's history: a watcher that was slow, or that comes back
//! after a while, goes on where it was. Only what is compacted is gone.

use std::sync::Arc;
use std::time::Duration;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_proto_api::Status;
use mainstay_store::{self as store, EventKind, Revision, WatchBatch, WatchError, WatchRequest};
use smol_str::SmolStr;
use tokio::time::timeout;

use super::{Registry, resource_prefix};
use crate::backing::BackingError;
use crate::cache::{Cached, ChangeKind, Cursor, Event, Interest, ResourceCache};
use crate::failure::{Failure, too_old};

/// How long the history is given to say something before it is asked how far it has looked: the first time, and at most.
const PATIENCE: Duration = Duration::from_millis(50);
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// A walk through the history of one resource, up to where its ring begins.
pub struct PastEvents {
    registry: Registry,
    cache: Arc<ResourceCache>,
    interest: Interest,
    watch: store::Watch,
    /// Read, and not made into events yet: kept here so that nothing is lost when a call is dropped.
    batch: Option<WatchBatch>,
    /// Everything up to here was given.
    position: Revision,
    /// The object whose event at the first revision was given already, with those before it.
    given: Option<ObjectKey>,
    patience: Duration,
}

/// Namespace and name.
type ObjectKey = (SmolStr, SmolStr);

/// How far somebody has seen the events of a resource.
#[derive(Debug, Clone)]
pub struct Seen {
    /// All before this revision were seen.
    pub revision: Revision,
    /// Of this revision, those up to this object's; none means all of them.
    pub object: Option<ObjectKey>,
}

impl Seen {
    /// All events up to a revision.
    pub fn all(revision: Revision) -> Self {
        Self { revision, object: None }
    }

    /// All events up to this one. A revision can change many objects.
    pub fn up_to(event: &Event) -> Self {
        let header = &event.object.header;
        Self { revision: event.revision, object: Some((header.namespace.clone(), header.name.clone())) }
    }
}

/// What comes next.
pub enum Past {
    /// Events; perhaps none.
    Events(Vec<Arc<Event>>),
    /// The ring goes on from here.
    Caught(Cursor),
}

impl Registry {
    /// The events of `kind` after those `seen` that the ring of `cache` has no more. `None` where the store is
    /// another process: its history is not asked for this.
    ///
    /// # Errors
    /// 405 for kinds that are not stored.
    pub async fn past(
        &self,
        kind: &'static Kind,
        cache: &Arc<ResourceCache>,
        seen: Seen,
        interest: Interest,
    ) -> Result<Option<PastEvents>, Status> {
        let Some(store) = self.inner.store.embedded() else { return Ok(None) };
        let namespace = match &interest {
            Interest::Namespace(namespace) | Interest::Object { namespace, .. } => namespace.as_str(),
            _ => "",
        };
        let prefix = resource_prefix(kind, namespace).map_err(|error| Self::failed(kind, error))?;
        let request = WatchRequest { prev_kv: true, ..WatchRequest::prefix(prefix) };
        let first = if seen.object.is_some() { seen.revision } else { seen.revision.next() };
        let watch = store.watch(request.starting_at(first)).await;
        Ok(Some(PastEvents {
            registry: self.clone(),
            cache: Arc::clone(cache),
            interest,
            watch,
            batch: None,
            position: first.previous(),
            given: seen.object,
            patience: PATIENCE,
        }))
    }
}

impl PastEvents {
    /// What comes next.
    ///
    /// # Errors
    /// 410 when the history that is to come is compacted; failures of the store; objects that cannot be read.
    ///
    /// # Cancel safety
    /// A call that is dropped before it is ready loses nothing.
    pub async fn next(&mut self) -> Result<Past, Failure> {
        loop {
            if let Some(batch) = &self.batch {
                let mut values = Vec::with_capacity(batch.events.len() * 2);
                for event in &batch.events {
                    values.push(&event.kv.value);
                    values.extend(event.prev.as_ref().map(|prev| &prev.value));
                }
                self.registry.inner.vault.unlock(values.into_iter()).await;
                let mut events = self.events(batch)?;
                self.position = batch.revision;
                self.batch = None;
                if let Some((namespace, name)) = self.given.take() {
                    let is_given = |event: &Arc<Event>| {
                        event.object.header.namespace == namespace && event.object.header.name == name
                    };
                    let given = events.iter().position(is_given).map_or(0, |at| at + 1);
                    events.drain(..given);
                }
                return Ok(Past::Events(events));
            }
            // Not before what was given is told apart from what was not.
            if self.given.is_none()
                && let Ok(cursor) = self.cache.cursor_after(self.position, self.interest.clone())
            {
                return Ok(Past::Caught(cursor));
            }
            match timeout(self.patience, self.watch.next()).await {
                Ok(Ok(batch)) => self.batch = Some(batch),
                Ok(Err(WatchError::Compacted { floor })) => {
                    return Err(Failure::Answered(too_old(self.position, floor)));
                }
                Ok(Err(error)) => return Err(BackingError::from(error).into()),
                // It has looked so far and found nothing, or reads slowly.
                Err(_elapsed) => {
                    let looked = self.watch.position().previous();
                    if looked > self.position {
                        self.given = None;
                    }
                    self.position = self.position.max(looked);
                    self.patience = (self.patience * 2).min(PATIENCE_MAX);
                }
            }
        }
    }

    fn events(&self, batch: &WatchBatch) -> Result<Vec<Arc<Event>>, Failure> {
        let (vault, kind) = (&self.registry.inner.vault, self.cache.kind);
        let read = |kv: &store::KeyValue| Cached::unsealed(vault, kind, kv).map(Arc::new);
        // The state before an event is gone when the compaction is between the two.
        let gone = || Failure::Answered(too_old(self.position, batch.revision));
        let mut events = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            let previous = event.prev.as_ref().map(read).transpose()?;
            events.push(Arc::new(match (event.kind, previous) {
                (EventKind::Put, None) if event.kv.version > 1 => return Err(gone()),
                (EventKind::Put, None) => {
                    Event::new(batch.revision, ChangeKind::Added, read(&event.kv)?, None)
                }
                (EventKind::Put, previous) => {
                    Event::new(batch.revision, ChangeKind::Modified, read(&event.kv)?, previous)
                }
                (EventKind::Delete, Some(last)) => {
                    Event::new(batch.revision, ChangeKind::Deleted, last, None)
                }
                (EventKind::Delete, None) => return Err(gone()),
            }));
        }
        Ok(events)
    }
}
