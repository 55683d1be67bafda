//! One machine: a runtime with a clock of its own, a disk, and a member that runs on it until it crashes.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_store::{Config, Limits, OpenError, Platform, Store};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::disk::SimDisk;
use super::net::{Arrival, HostId};
use super::peers::Listener;

/// A run writes many times as much log, so that members that were away need snapshots.
const CHECKPOINT_BYTES: u64 = 6 << 10;

/// What a running process offers to what arrives.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    state: Arc<Mutex<DeskState>>,
}

#[derive(Debug, Default)]
struct DeskState {
    store: Option<Store>,
    failed: Option<Failure>,
    stopped: bool,
    closing: bool,
    closed: bool,
    listener: Option<Listener>,
}

/// Why a store did not open.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The error.
    pub what: String,
    /// The disk refused, which it may not do the next time.
    pub may_pass: bool,
    /// A member that joins found nobody who told it who it is, or was removed before it began.
    pub is_of_joining: bool,
}

impl Desk {
    /// The store, once it is open.
    pub fn store(&self) -> Option<Store> {
        self.state.lock().store.clone()
    }

    /// Why it did not open.
    pub fn failure(&self) -> Option<Failure> {
        self.state.lock().failed.clone()
    }

    /// Whether the store has stopped by itself or was closed.
    pub fn has_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Whether the store is being closed in good order.
    pub fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    /// Whether that has ended.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Notes that the store is being closed.
    pub fn begin_closing(&self) {
        self.state.lock().closing = true;
    }

    /// Notes that it is closed.
    pub fn end_closing(&self) {
        self.state.lock().closed = true;
    }

    /// Where other members' links are put, while the process listens.
    pub fn listener(&self) -> Option<Listener> {
        self.state.lock().listener.clone()
    }

    /// Listens for other members.
    pub fn listen(&self, listener: Listener) {
        self.state.lock().listener = Some(listener);
    }

    /// Opens a store and waits for its end.
    async fn serve(self, config: Config) {
        match Box::pin(Store::open(config)).await {
            Ok(store) => {
                let stopped = store.stopped();
                self.state.lock().store = Some(store);
                stopped.await;
                self.state.lock().stopped = true;
            }
            Err(error) => self.state.lock().failed = Some(describe(&error)),
        }
    }
}

fn describe(error: &OpenError) -> Failure {
    Failure {
        what: format!("{error} ({error:?})"),
        may_pass: matches!(error, OpenError::Io { .. }),
        is_of_joining: matches!(error, OpenError::Raft(_) | OpenError::Config(_)),
    }
}

/// A process on a host.
struct Process {
    runtime: Runtime,
    desk: Desk,
    /// The simulation's time and the process' own when it was started, or when its clock last changed its speed.
    since: (Duration, Instant),
}

/// A machine that may run a process.
pub struct Host {
    /// Its number.
    pub id: HostId,
    /// Its disk.
    pub disk: SimDisk,
    /// How often a process was started on it.
    pub incarnation: u64,
    dir: PathBuf,
    process: Option<Process>,
    /// How fast its clock goes.
    rate: f64,
    /// It does not run until then.
    paused_until: Option<Duration>,
    /// Without power it does not even refuse.
    has_power: bool,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("id", &self.id)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// A runtime whose clock moves only when all its tasks wait.
fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

impl Host {
    /// A machine that is off.
    pub fn new(id: HostId, disk: SimDisk, dir: PathBuf) -> Self {
        Self { id, disk, incarnation: 0, dir, process: None, rate: 1.0, paused_until: None, has_power: true }
    }

    /// Starts a process; `main` runs on it.
    ///
    /// # Errors
    /// The runtime could not be made.
    pub fn start<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        now: Duration,
        main: impl FnOnce(Desk) -> F,
    ) -> std::io::Result<()> {
        let runtime = runtime()?;
        let desk = Desk::default();
        let began = runtime.block_on(async { Instant::now() });
        let main = main(desk.clone());
        drop(runtime.handle().spawn(main));
        self.incarnation += 1;
        self.paused_until = None;
        self.has_power = true;
        self.process = Some(Process { runtime, desk, since: (now, began) });
        Ok(())
    }

    /// Starts the member's process.
    ///
    /// # Errors
    /// The runtime could not be made.
    pub fn start_member(
        &mut self,
        now: Duration,
        adjust: impl FnOnce(&mut Config, &Desk),
    ) -> std::io::Result<()> {
        let mut config = self.config();
        self.start(now, |desk| {
            adjust(&mut config, &desk);
            desk.serve(config)
        })
    }

    fn config(&self) -> Config {
        Config {
            dir: self.dir.clone(),
            limits: Limits { request_bytes_max: 4 << 10, ..Limits::default() },
            log_segment_bytes: 80 << 10,
            watch_ring_revisions: 32,
            watch_progress_interval: Duration::from_secs(1),
            disk_reserve_bytes: 1 << 20,
            platform: Platform::simulated(Arc::new(self.disk.clone()), CHECKPOINT_BYTES),
            ..Config::default()
        }
    }

    /// What the running process offers.
    pub fn desk(&self) -> Option<&Desk> {
        self.process.as_ref().map(|process| &process.desk)
    }

    /// Whether a process runs here.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it stands still.
    pub fn is_paused(&self, now: Duration) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    /// Stops the process without a word; the disk loses what was not synced.
    pub fn crash(&mut self) {
        self.process = None;
        self.has_power = false;
        self.paused_until = None;
        self.disk.crash();
    }

    /// Stops the process without a word, but the machine goes on: nothing is lost that was written.
    pub fn kill(&mut self) {
        self.process = None;
        self.paused_until = None;
    }

    /// Throws the machine away, with its data; another takes its place.
    ///
    /// # Errors
    /// The directory of its tables is still there.
    pub fn replace(&mut self, disk: SimDisk) -> std::io::Result<()> {
        self.process = None;
        self.paused_until = None;
        self.has_power = true;
        self.rate = 1.0;
        self.disk = disk;
        match std::fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Lets the process stand still until then, as SIGSTOP does; its clock goes on.
    pub fn pause(&mut self, until: Duration) {
        self.paused_until = Some(until);
    }

    /// Changes the speed of its clock.
    pub fn set_rate(&mut self, now: Duration, rate: f64) {
        if let Some(process) = &mut self.process {
            process.since = (now, process.local(now, self.rate));
        }
        self.rate = rate;
    }

    /// Runs the process until its clock stands where it should be at `until`, beginning with what has arrived.
    pub fn run(&mut self, now: Duration, until: Duration, arrivals: impl FnOnce() -> Vec<Arrival<Desk>>) {
        let rate = self.rate;
        let was_paused = match self.paused_until {
            Some(end) if end > now => return,
            Some(_) => true,
            None => false,
        };
        self.paused_until = None;
        let Some(process) = &mut self.process else {
            for arrival in arrivals() {
                if self.has_power {
                    arrival(&Desk::default()); // nobody listens, and the system says so
                }
            }
            return;
        };
        let (begin, end) = (process.local(now, rate), process.local(until, rate));
        let desk = process.desk.clone();
        process.runtime.block_on(async {
            if was_paused {
                // All timers that should have rung in between ring now, at once.
                tokio::time::advance(begin.saturating_duration_since(Instant::now())).await;
            }
            for arrival in arrivals() {
                arrival(&desk);
            }
            tokio::time::sleep_until(end).await;
        });
    }

    /// Lets something run on the process.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(process) = &self.process {
            drop(process.runtime.handle().spawn(work));
        }
    }
}

impl Process {
    fn local(&self, now: Duration, rate: f64) -> Instant {
        self.since.1 + now.saturating_sub(self.since.0).mul_f64(rate)
    }
}
