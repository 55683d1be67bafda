//! A few named threads for reads that may wait for the disk.
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

use crate::platform::{Loop, Platform};

/// So many jobs wait or run at most; callers wait beyond that.
const JOBS_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

struct Shared {
    queue: Mutex<(VecDeque<Job>, bool)>,
    added: Condvar,
    room: Semaphore,
    /// No threads: callers run their jobs themselves.
    inline: bool,
}

/// A handle on the threads; they end when [`WorkerPool::close`] is called.
#[derive(Clone)]
pub(crate) struct WorkerPool {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerPool").finish_non_exhaustive()
    }
}

impl WorkerPool {
    /// Starts `threads` threads, or none in a simulation.
    pub(crate) fn start(
        platform: &Platform,
        name: &str,
        threads: usize,
    ) -> std::io::Result<(Self, Vec<Loop>)> {
        let inline = platform.is_simulated();
        let shared = Arc::new(Shared {
            queue: Mutex::new((VecDeque::new(), false)),
            added: Condvar::new(),
            room: Semaphore::new(JOBS_MAX),
            inline,
        });
        let mut handles = Vec::with_capacity(threads);
        for number in 0..if inline { 0 } else { threads } {
            let shared = Arc::clone(&shared);
            let thread =
                std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || work(&shared))?;
            handles.push(Loop::Thread(thread));
        }
        Ok((Self { shared }, handles))
    }

    /// Runs a job on one of the threads; none if the pool is closed.
    ///
    /// # Cancel safety
    /// Dropping the future drops the answer; the job runs or not.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _room = self.shared.room.acquire().await.ok()?;
        if self.shared.inline {
            // Others may run in between, as they do with threads.
            tokio::task::yield_now().await;
            let closed = self.shared.queue.lock().1;
            return (!closed).then(job);
        }
        let (send, receive) = oneshot::channel();
        {
            let mut queue = self.shared.queue.lock();
            if queue.1 {
                return None;
            }
            queue.0.push_back(Box::new(move || drop(send.send(job()))));
        }
        self.shared.added.notify_one();
        receive.await.ok()
    }

    /// No new jobs; the threads end after those that wait.
    pub(crate) fn close(&self) {
        self.shared.queue.lock().1 = true;
        self.shared.added.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let job = {
            let mut queue = shared.queue.lock();
            loop {
                if let Some(job) = queue.0.pop_front() {
                    break job;
                }
                if queue.1 {
                    return;
                }
                shared.added.wait(&mut queue);
            }
        };
        job();
    }
}
