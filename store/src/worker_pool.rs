//! A few named threads for reads that may wait for the disk.
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

/// So many jobs wait or run at most; callers wait beyond that.
const JOBS_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

struct Shared {
    queue: Mutex<(VecDeque<Job>, bool)>,
    added: Condvar,
    room: Semaphore,
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
    /// Starts `threads` threads.
    pub(crate) fn start(
        name: &str,
        threads: usize,
    ) -> std::io::Result<(Self, Vec<std::thread::JoinHandle<()>>)> {
        let shared = Arc::new(Shared {
            queue: Mutex::new((VecDeque::new(), false)),
            added: Condvar::new(),
            room: Semaphore::new(JOBS_MAX),
        });
        let mut handles = Vec::with_capacity(threads);
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            handles.push(
                std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || work(&shared))?,
            );
        }
        Ok((Self { shared }, handles))
    }

    /// Runs a job on one of the threads; none if the pool is closed.
    ///
    /// # Cancel safety
    /// Dropping the future drops the answer; the job runs or not.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _room = self.shared.room.acquire().await.ok()?;
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
