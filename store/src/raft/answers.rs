//! The last step of a write: its caller is told, on the runtime that it waits on.
//!
//! The apply loop hands the answers of a group over at once. Told from its own thread, each caller would wake the runtime anew.
use openraft::storage::ApplyResponder;
use tokio::sync::mpsc;

use super::caller::Taken;
use super::types::{LogId, TypeConfig};
use crate::mvcc::Applied;
use crate::platform::{Loop, Platform};

/// So many groups of answers wait at most; the apply loop waits beyond that.
const GROUPS_MAX: usize = 16;

/// Who waits for the answer to an entry.
pub(super) enum Asker {
    /// A caller here, whose entry consensus has handed over.
    Consensus(ApplyResponder<TypeConfig>),
    /// A caller here, whose entry came the short way.
    Here(Taken, LogId),
}

/// A caller that waits, and its answer.
pub(super) type Answer = (Asker, Applied);

/// The way to the callers.
#[derive(Debug)]
pub(super) struct Answers(mpsc::Sender<Vec<Answer>>);

impl Answers {
    /// Starts the loop that tells callers; it ends when this is dropped.
    pub(super) fn spawn() -> std::io::Result<(Self, Loop)> {
        let (groups, mut queue) = mpsc::channel(GROUPS_MAX);
        let telling = Platform::spawn_task(async move {
            while let Some(group) = queue.recv().await {
                tell(group);
            }
        })?;
        Ok((Self(groups), telling))
    }

    pub(super) async fn send(&self, group: Vec<Answer>) {
        if group.len() < 2 {
            return tell(group);
        }
        if let Err(mpsc::error::SendError(group)) = self.0.send(group).await {
            // The loop has ended with its runtime; whoever waits elsewhere is told from here.
            tell(group);
        }
    }
}

fn tell(group: Vec<Answer>) {
    for (asker, applied) in group {
        match asker {
            Asker::Consensus(caller) => caller.send(applied),
            Asker::Here(caller, log_id) => caller.answer(log_id, applied),
        }
    }
}
