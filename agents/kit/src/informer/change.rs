//! What a cache tells its subscribers.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::ObjectKey;

/// One change of a cache.
#[derive(Debug)]
pub enum Change<K> {
    /// One object came, changed or went. `old` is what the cache held, `new` what it holds now.
    Object {
        /// The object's key.
        key: ObjectKey,
        /// What the cache held before.
        old: Option<Arc<K>>,
        /// What the cache holds now; absent after a deletion.
        new: Option<Arc<K>>,
    },
    /// Changes were missed, or the subscription has just begun: look at the whole cache.
    Resync,
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Object { key, old, new } => {
                Self::Object { key: key.clone(), old: old.clone(), new: new.clone() }
            }
            Self::Resync => Self::Resync,
        }
    }
}

/// A bounded stream of changes. A subscriber that falls behind by more than the bound gets one [`Change::Resync`]
/// in place of what it missed.
#[derive(Debug)]
pub struct Subscription<K> {
    receiver: broadcast::Receiver<Change<K>>,
    begun: bool,
}

impl<K> Subscription<K> {
    pub(super) fn new(receiver: broadcast::Receiver<Change<K>>) -> Self {
        Self { receiver, begun: false }
    }

    /// The next change; the first is always [`Change::Resync`]. `None` when the informer has ended.
    ///
    /// *Cancel safety*: a dropped call loses nothing.
    pub async fn next(&mut self) -> Option<Change<K>> {
        if !self.begun {
            self.begun = true;
            return Some(Change::Resync);
        }
        match self.receiver.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Change::Resync),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
