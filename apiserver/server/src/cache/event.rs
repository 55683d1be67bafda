//! One change of one object, shared by every watcher that sees it. Its frames are encoded once per format.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use mainstay_proto_api::WatchEventType;
use mainstay_store::Revision;
use parking_lot::Mutex;

use super::Cached;

/// What happened to the object in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created.
    Added,
    /// It was changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// Identifies one encoding of an event: the type it is shown as, and a format chosen by the encoder.
pub type FrameKey = (WatchEventType, u8);

/// A change.
#[derive(Debug)]
pub struct Event {
    /// The revision that made it.
    pub revision: Revision,
    /// What happened.
    pub change: ChangeKind,
    /// The object after it; for a deletion, as it was before.
    pub object: Arc<Cached>,
    /// The object before it.
    pub previous: Option<Arc<Cached>>,
    gone: OnceLock<Option<Arc<Cached>>>,
    frames: Mutex<Vec<(FrameKey, Bytes)>>,
}

impl Event {
    /// A change that nobody has looked at yet.
    pub fn new(
        revision: Revision,
        change: ChangeKind,
        object: Arc<Cached>,
        previous: Option<Arc<Cached>>,
    ) -> Self {
        Self { revision, change, object, previous, gone: OnceLock::new(), frames: Mutex::new(Vec::new()) }
    }

    /// The object as a DELETED event shows it: its last state that was visible, under this event's revision.
    pub fn last_state(&self) -> Option<&Arc<Cached>> {
        let make = || {
            let last =
                if self.change == ChangeKind::Deleted { Some(&self.object) } else { self.previous.as_ref() };
            match last?.at_revision(self.revision) {
                Ok(object) => Some(Arc::new(object)),
                Err(error) => {
                    tracing::error!(%error, "the last state of an object cannot be shown");
                    None
                }
            }
        };
        self.gone.get_or_init(make).as_ref()
    }

    /// Bytes this event keeps alive beyond the cache.
    pub fn weight(&self) -> usize {
        self.object.raw.own_len() + self.previous.as_ref().map_or(0, |p| p.raw.own_len()) + 256
    }

    /// The frame of `key`, made by `encode` the first time.
    ///
    /// # Errors
    /// What `encode` says.
    pub fn frame<E>(&self, key: FrameKey, encode: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        let mut frames = self.frames.lock();
        if let Some((_, frame)) = frames.iter().find(|(k, _)| *k == key) {
            return Ok(frame.clone());
        }
        let frame = encode()?;
        frames.push((key, frame.clone()));
        Ok(frame)
    }

    /// Lets go of the frames; they are made anew when a slow watcher still needs them.
    pub(super) fn forget_frames(&self) {
        *self.frames.lock() = Vec::new();
    }
}
