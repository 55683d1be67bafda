//! The loop that brings the tables to disk when the log has grown, so that its files can be used again.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::engine::Tables;
use crate::raft::Member;
use crate::stop::StopState;
use crate::worker_pool::WorkerPool;

/// Between attempts on a full disk.
const NO_SPACE_RETRY: Duration = Duration::from_millis(200);

/// What the loop needs.
pub(crate) struct CheckpointParts {
    pub(crate) member: Member,
    pub(crate) tables: Arc<Tables>,
    pub(crate) pool: WorkerPool,
    pub(crate) stop: Arc<StopState>,
    /// Notified when the log has grown.
    pub(crate) grown: Arc<Notify>,
}

/// Runs until the store stops.
pub(crate) async fn run(parts: CheckpointParts) {
    let stop = parts.stop.token().clone();
    let work = async {
        loop {
            parts.grown.notified().await;
            if !parts.flush().await {
                return;
            }
            parts.member.checkpoint().await;
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {} // a flush on its way ends by itself; closing does another
        () = work => {}
    }
}

impl CheckpointParts {
    /// Flushes the tables, waiting for space if there is none. False if there is no point in going on.
    async fn flush(&self) -> bool {
        loop {
            let tables = Arc::clone(&self.tables);
            match self.pool.run(move || tables.flush()).await {
                Some(Ok(())) => return true,
                Some(Err(error)) if error.no_space => {
                    tracing::warn!(%error, "no space to flush the tables, waiting");
                    tokio::time::sleep(NO_SPACE_RETRY).await;
                }
                Some(Err(error)) => {
                    self.stop.halt(&error.to_string());
                    return false;
                }
                None => return false,
            }
        }
    }
}
