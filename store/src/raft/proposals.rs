//! Commands that were forwarded to the leader, and the callers that wait until this member applies them.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::types::Origin;
use crate::mvcc::Applied;
use crate::platform::{RandomHash, random};

/// The callers, by the number of their command.
#[derive(Debug)]
pub(crate) struct Proposals {
    member: u64,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Applied>, RandomHash>>,
}

impl Proposals {
    pub(crate) fn new(member: u64) -> Self {
        // Elsewhere in each process of the member: entries of an earlier one may still be applied.
        let first = random("proposals");
        Self { member, next: AtomicU64::new(first), waiting: Mutex::default() }
    }

    /// A number for a command, and the answer to come.
    pub(super) fn add(self: &Arc<Self>) -> Waiter {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let (send, answer) = oneshot::channel();
        self.waiting.lock().insert(sequence, send);
        Waiter { sequence, answer, proposals: Arc::clone(self) }
    }

    /// The caller that waits for this entry here, if there is one.
    pub(super) fn take(&self, origin: Option<Origin>) -> Option<oneshot::Sender<Applied>> {
        let origin = origin.filter(|origin| origin.member == self.member)?;
        self.waiting.lock().remove(&origin.sequence)
    }

    /// A snapshot took the place of entries: whether those waited for are in it is not known.
    pub(super) fn forget_all(&self) {
        self.waiting.lock().clear();
    }
}

/// A caller that waits. Dropping it forgets the command, which may be applied all the same.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) sequence: u64,
    pub(super) answer: oneshot::Receiver<Applied>,
    proposals: Arc<Proposals>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.proposals.waiting.lock().remove(&self.sequence);
    }
}
