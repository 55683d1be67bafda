//! A watcher's place in a ring, or its notes of places. It holds no events: a slow watcher costs nothing but this.

use std::sync::Arc;

use tokio::sync::watch;

use super::watchers::Slot;
use super::{Event, Interest, ResourceCache};

/// Events taken from the ring at once.
const BATCH_MAX: usize = 64;

/// Why a cursor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorEnd {
    /// The watcher was slower than the ring is long; it must list again.
    #[error("the watcher fell behind the events that are kept")]
    Lagged,
    /// The server stops.
    #[error("the cache is closed")]
    Closed,
}

/// A place in the ring of one resource.
#[derive(Debug)]
pub struct Cursor {
    cache: Arc<ResourceCache>,
    way: Way,
}

/// How a cursor learns what to read.
#[derive(Debug)]
enum Way {
    /// Everything from `seq` on: it wakes for each event.
    Following { seq: u64, newest: watch::Receiver<u64> },
    /// What is noted for it.
    Noted { interest: Interest, slot: Arc<Slot> },
}

impl Cursor {
    pub(super) fn following(cache: Arc<ResourceCache>, seq: u64, newest: watch::Receiver<u64>) -> Self {
        Self { cache, way: Way::Following { seq, newest } }
    }

    pub(super) fn noted(cache: Arc<ResourceCache>, interest: Interest, slot: Arc<Slot>) -> Self {
        Self { cache, way: Way::Noted { interest, slot } }
    }

    /// The next events, at least one: those of the cursor's interest, in order, and perhaps others between them.
    ///
    /// # Errors
    /// [`CursorEnd`].
    ///
    /// # Cancel safety
    /// A call that is dropped before it is ready loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, CursorEnd> {
        loop {
            match &mut self.way {
                Way::Following { seq, newest } => {
                    newest.borrow_and_update();
                    let events = self.cache.read_events(*seq, BATCH_MAX).ok_or(CursorEnd::Lagged)?;
                    if !events.is_empty() {
                        *seq += events.len() as u64;
                        return Ok(events);
                    }
                    newest.changed().await.map_err(|_closed| CursorEnd::Closed)?;
                }
                Way::Noted { slot, .. } => {
                    let events = self.cache.read_noted(slot, BATCH_MAX).ok_or(CursorEnd::Lagged)?;
                    if !events.is_empty() {
                        return Ok(events);
                    }
                    slot.woken().await;
                }
            }
        }
    }

    /// Whether events wait to be read.
    pub fn is_behind(&self) -> bool {
        match &self.way {
            Way::Following { seq, .. } => {
                self.cache.read_events(*seq, 1).is_none_or(|events| !events.is_empty())
            }
            Way::Noted { slot, .. } => slot.has_pending(),
        }
    }

    /// The cache the cursor reads.
    pub fn cache(&self) -> &Arc<ResourceCache> {
        &self.cache
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Way::Noted { interest, slot } = &self.way {
            self.cache.forget(interest, slot);
        }
    }
}
