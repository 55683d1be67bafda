//! Where loops and blocking calls run.
use std::io;

use tokio::runtime::Handle;

use super::Platform;

/// A loop that was started with [`Platform::spawn_loop`].
#[derive(Debug)]
pub(crate) enum Loop {
    Thread(std::thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}

impl Loop {
    /// Waits for its end; false if it panicked.
    pub(crate) async fn join(self) -> bool {
        match self {
            Self::Thread(thread) => {
                let joined = tokio::task::spawn_blocking(move || thread.join()).await;
                matches!(joined, Ok(Ok(())))
            }
            Self::Task(task) => task.await.is_ok(),
        }
    }
}

impl Platform {
    /// Runs a loop that blocks in its file and table calls: on a thread of its own. It is asynchronous only in how it waits for work, so that
    /// a simulation can run it among others.
    pub(crate) fn spawn_loop(
        &self,
        name: &str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Loop> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        if self.inline {
            return Ok(Loop::Task(runtime.spawn(work)));
        }
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || runtime.block_on(work))?;
        Ok(Loop::Thread(thread))
    }

    /// Runs a loop that never blocks on the caller's runtime.
    pub(crate) fn spawn_task(work: impl Future<Output = ()> + Send + 'static) -> io::Result<Loop> {
        Ok(Loop::Task(Handle::try_current().map_err(io::Error::other)?.spawn(work)))
    }

    /// Makes the calling loop's thread nice: whoever waits for an answer comes first.
    pub(crate) fn yield_to_others(&self, niceness: i32) {
        if self.inline {
            return;
        }
        if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), niceness) {
            tracing::debug!(%error, "a thread runs at normal priority");
        }
    }

    /// Runs a call that blocks, now and then, where that holds up nobody.
    ///
    /// # Errors
    /// The call panicked.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        if self.inline {
            return Ok(call());
        }
        tokio::task::spawn_blocking(call).await.map_err(io::Error::other)
    }
}
