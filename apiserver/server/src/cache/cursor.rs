//! A watcher's place in a ring. It holds no events: a slow watcher costs nothing but this.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Event, ResourceCache};

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
    seq: u64,
    newest: watch::Receiver<u64>,
}

impl Cursor {
    pub(super) fn new(cache: Arc<ResourceCache>, seq: u64, newest: watch::Receiver<u64>) -> Self {
        Self { cache, seq, newest }
    }

    /// The next events, at least one.
    ///
    /// # Errors
    /// [`CursorEnd`].
    ///
    /// # Cancel safety
    /// A call that is dropped before it is ready loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, CursorEnd> {
        loop {
            self.newest.borrow_and_update();
            let events = self.cache.read_events(self.seq, BATCH_MAX).ok_or(CursorEnd::Lagged)?;
            if !events.is_empty() {
                self.seq += events.len() as u64;
                return Ok(events);
            }
            self.newest.changed().await.map_err(|_closed| CursorEnd::Closed)?;
        }
    }

    /// Whether events wait to be read.
    pub fn is_behind(&self) -> bool {
        self.cache.read_events(self.seq, 1).is_none_or(|events| !events.is_empty())
    }

    /// The cache the cursor reads.
    pub fn cache(&self) -> &Arc<ResourceCache> {
        &self.cache
    }
}
