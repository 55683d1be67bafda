//! The one place where tasks are spawned: each has a name, is cancelled by a token and is joined.

use std::fmt::{self, Debug, Display};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, error, info_span};

/// How a task's future ended: `()` or a `Result` whose error is logged.
pub trait TaskEnd: Send + 'static {
    /// The error's text, if the task failed.
    fn failure(self) -> Option<String>;
}

impl TaskEnd for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display + Send + 'static> TaskEnd for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// A group of named tasks under one cancellation token. Clones share the group.
#[derive(Clone)]
pub struct Tasks {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    stop: CancellationToken,
    tracker: TaskTracker,
    running: Mutex<Vec<String>>,
}

impl Tasks {
    /// A group that ends when `stop` is cancelled.
    pub fn new(name: impl Into<String>, stop: CancellationToken) -> Self {
        let shared =
            Shared { name: name.into(), stop, tracker: TaskTracker::new(), running: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The token that ends every task of the group.
    pub fn token(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// A group of its own under this one's token: cancelling the parent cancels it, not the other way round.
    pub fn child(&self, name: &str) -> Self {
        Self::new(format!("{}/{name}", self.shared.name), self.shared.stop.child_token())
    }

    /// Runs `future` until it ends. A failure or a panic is logged with the task's name.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn<F>(&self, name: impl Into<String>, future: F)
    where
        F: Future + Send + 'static,
        F::Output: TaskEnd,
    {
        let name = name.into();
        let span = info_span!("task", group = %self.shared.name, name = %name);
        let registration = Registration::new(self.shared.clone(), name);
        let watched = async move {
            let outcome = tokio::spawn(future.in_current_span()).await;
            match outcome.map(TaskEnd::failure) {
                Ok(None) => debug!("task ended"),
                Ok(Some(reason)) => error!(%reason, "task failed"),
                Err(join) if join.is_panic() => error!(%join, "task panicked"),
                Err(join) => debug!(%join, "task cancelled"),
            }
            drop(registration);
        };
        self.shared.tracker.spawn(watched.instrument(span));
    }

    /// Cancels the group and waits up to `grace` for its tasks to end.
    ///
    /// # Errors
    /// The names of the tasks that were still running when the grace period was over.
    pub async fn close_and_join(&self, grace: Duration) -> Result<(), Vec<String>> {
        self.shared.stop.cancel();
        self.shared.tracker.close();
        match tokio::time::timeout(grace, self.shared.tracker.wait()).await {
            Ok(()) => Ok(()),
            Err(_elapsed) => Err(self.running()),
        }
    }

    /// Names of the tasks that run now.
    pub fn running(&self) -> Vec<String> {
        self.shared.running.lock().clone()
    }
}

impl Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("name", &self.shared.name).field("running", &self.running()).finish()
    }
}

/// Keeps a task's name in the list for as long as the task lives.
struct Registration {
    shared: Arc<Shared>,
    name: String,
}

impl Registration {
    fn new(shared: Arc<Shared>, name: String) -> Self {
        shared.running.lock().push(name.clone());
        Self { shared, name }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut running = self.shared.running.lock();
        if let Some(index) = running.iter().position(|name| *name == self.name) {
            running.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn closing_cancels_and_joins_every_task() {
        let tasks = Tasks::new("test", CancellationToken::new());
        let stop = tasks.token();
        tasks.spawn("waits", async move { stop.cancelled().await });
        assert_eq!(tasks.running(), ["waits"]);
        tasks.close_and_join(Duration::from_secs(1)).await.unwrap();
        assert!(tasks.running().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_the_token_is_named() {
        let tasks = Tasks::new("test", CancellationToken::new());
        tasks.spawn("deaf", std::future::pending::<()>());
        assert_eq!(tasks.close_and_join(Duration::from_secs(1)).await, Err(vec!["deaf".to_owned()]));
    }

    #[tokio::test]
    async fn a_panicking_task_leaves_the_others_alone() {
        let tasks = Tasks::new("test", CancellationToken::new());
        tasks.spawn("panics", async { assert!(std::env::args().len() > 1_000, "on purpose") });
        let stop = tasks.token();
        tasks.spawn("waits", async move { stop.cancelled().await });
        tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
    }

    #[tokio::test]
    async fn a_child_group_ends_with_its_parent_only() {
        let parent = Tasks::new("parent", CancellationToken::new());
        let child = parent.child("child");
        child.close_and_join(Duration::from_secs(1)).await.unwrap();
        assert!(!parent.token().is_cancelled());
        let second = parent.child("second");
        parent.token().cancel();
        assert!(second.token().is_cancelled());
    }
}
