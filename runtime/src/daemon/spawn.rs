//! Starts a sandbox's shim and listens to it.

use super::records::{self, unknown_exit};
use super::runtime::{Container, Phase, Runtime, Sandbox};
use crate::failure::{Attempt, Failure, Result};
use crate::shim::{Client, Event, Exit, ShimConfig};
use mainstay_proto_wire::cri::{CriError, v1};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

const START_TIMEOUT: Duration = Duration::from_secs(30);

impl Runtime {
    /// Starts a shim in `dir` and waits until it can be called.
    pub(super) async fn spawn_shim(&self, dir: &Path, shared_pid: bool) -> Result<()> {
        records::write(dir, "shim.json", &ShimConfig { version: 1, shared_pid })?;
        let log = std::fs::File::create(dir.join("shim.log")).attempt("making the shim's log")?;
        let mut child = tokio::process::Command::new(format!("/proc/self/fd/{}", self.exe.as_raw_fd()))
            .arg(crate::shim::SUBCOMMAND)
            .arg(dir)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .attempt("starting the shim")?;
        if let Some(pid) = child.id() {
            self.groups.enter(&self.shim_group(), pid)?;
        }
        let mut said = String::new();
        let stdout = child.stdout.take();
        // Reaps the shim when it ends while we live; when we end first, the shim goes on.
        let stop = self.tasks.token();
        self.tasks.spawn("shim process", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ended = child.wait() => {}
            }
        });
        if let Some(mut stdout) = stdout {
            let read = tokio::time::timeout(START_TIMEOUT, stdout.read_to_string(&mut said));
            read.await.attempt("waiting for the shim")?.attempt("listening to the shim")?;
        }
        if said == "ready\n" {
            return Ok(());
        }
        let log = std::fs::read_to_string(dir.join("shim.log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or("it said nothing").to_owned();
        Err(Failure::internal(format!("the shim did not start: {last}")))
    }

    pub(super) fn shim_group(&self) -> String {
        format!("{}/shims", self.config.cgroup_root())
    }

    /// Connects to the sandbox's shim and follows its events; false when there is no shim.
    pub(super) fn follow_shim(&self, sandbox: &Arc<Sandbox>) -> Result<bool> {
        let dir = self.paths.sandbox_run(&sandbox.id());
        let Some((client, events)) = Client::connect(&dir, &self.tasks)? else { return Ok(false) };
        *sandbox.shim.lock() = Some(client);
        let (me, sandbox, stop) = (self.me()?, Arc::clone(sandbox), self.tasks.token());
        self.tasks.spawn("shim events", async move {
            tokio::select! {
                biased;
                // An event lost here is found again by the next daemon: exits are on disk.
                () = stop.cancelled() => {}
                () = me.follow(&sandbox, events) => {}
            }
        });
        Ok(true)
    }

    async fn follow(&self, sandbox: &Arc<Sandbox>, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Exited { exec: Some(exec), exit, .. } => {
                    let waiting = sandbox.execs.lock().remove(&exec);
                    if let Some(waiting) = waiting {
                        drop(waiting.send(Ok(exit.code)));
                    }
                }
                Event::Exited { container, exec: None, exit } => {
                    if let Some(container) = self.find_container(&container) {
                        self.note_exit(&container, &exit);
                    }
                }
                Event::Gone => break,
            }
        }
        if !self.tasks.token().is_cancelled() {
            self.lost_shim(sandbox).await;
        }
    }

    /// Takes a container's end into the books.
    pub(super) fn note_exit(&self, container: &Arc<Container>, exit: &Exit) {
        let mut news = false;
        container.phase.send_if_modified(|phase| {
            let started_at = match phase {
                Phase::Created => exit.finished_at,
                Phase::Running { started_at, .. } => *started_at,
                Phase::Exited { .. } => return false,
            };
            *phase = Phase::Exited { started_at, exit: exit.clone() };
            news = true;
            true
        });
        if !news {
            return;
        }
        tracing::info!(
            container = container.record.id,
            code = exit.code,
            oom = exit.oom_killed,
            "container exited"
        );
        self.announce(container, v1::ContainerEventType::ContainerStoppedEvent);
        if container.record.foreign_processes
            && let Ok(me) = self.me()
        {
            // Its children live on in a process namespace that is not its own.
            let cgroup = container.record.cgroup.clone();
            let work = tokio::task::spawn_blocking(move || me.groups.kill(&cgroup));
            self.tasks.spawn("kill the rest", async move { work.await.unwrap_or(Ok(())) });
        }
    }

    /// The shim has ended. After a stop that is as it should be; else everything in the sandbox is lost.
    pub(super) async fn lost_shim(&self, sandbox: &Arc<Sandbox>) {
        *sandbox.shim.lock() = None;
        for (_, waiting) in sandbox.execs.lock().drain() {
            drop(waiting.send(Err(CriError::internal("the pod's shim is gone"))));
        }
        let id = sandbox.id();
        if !sandbox.record.lock().stopped {
            tracing::warn!(sandbox = id, "the shim of a pod is gone: its containers are lost");
        }
        for container in self.containers_of(&id) {
            if !matches!(container.phase(), Phase::Running { .. }) {
                continue;
            }
            let lost = Arc::clone(&container);
            match self.blocking(move |me| me.settle_lost(&lost.record)).await {
                Ok(exit) => self.note_exit(&container, &exit),
                Err(failure) => {
                    tracing::error!(error = failure.chain(), "a lost container could not be cleaned up");
                }
            }
        }
        self.announce_sandbox(sandbox, v1::ContainerEventType::ContainerStoppedEvent);
    }

    /// The exit of a container without a shim: what the shim wrote, else unknown. Nothing of it runs afterwards.
    pub(super) fn settle_lost(&self, record: &records::ContainerRecord) -> Result<Exit> {
        self.groups.kill(&record.cgroup)?;
        let dir = self.paths.container(&record.id);
        if let Some(exit) = records::read::<Exit>(&dir, records::EXIT)? {
            return Ok(exit);
        }
        let exit = unknown_exit(self.now(), "the container's shim ended before the container did");
        records::write(&dir, records::EXIT, &exit)?;
        Ok(exit)
    }
}
