//! How far the cache has followed the store.

use mainstay_store::Revision;
use tokio::sync::watch;

/// The newest revision whose changes are all in the cache. Clones share it.
#[derive(Debug, Clone)]
pub struct Progress {
    sender: std::sync::Arc<watch::Sender<Revision>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { sender: std::sync::Arc::new(watch::Sender::new(Revision(0))) }
    }
}

impl Progress {
    /// The revision reached.
    pub fn current(&self) -> Revision {
        *self.sender.borrow()
    }

    /// Waits until `revision` is reached. Cancel safe.
    pub async fn reached(&self, revision: Revision) {
        if self.current() >= revision {
            return;
        }
        let mut receiver = self.sender.subscribe();
        // The sender lives as long as `self`: waiting cannot fail.
        let reached = receiver.wait_for(|current| *current >= revision).await.is_ok();
        debug_assert!(reached, "the sender outlives this wait");
    }

    pub(super) fn advance(&self, revision: Revision) {
        self.sender.send_if_modified(|current| {
            let newer = revision > *current;
            if newer {
                *current = revision;
            }
            newer
        });
    }
}
