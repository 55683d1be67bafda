//! Containers: started, stopped, removed, changed.

use super::records::{self, Started};
use super::runtime::{Container, Phase, Runtime};
use crate::cgroup::Limits;
use crate::durable;
use crate::failure::{Attempt, Failure, Result};
use crate::shim::{Body, Exit, LogLimits, Op, RunContainer};
use mainstay_proto_wire::cri::{Code, v1};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Logs of one container: 10 MiB, five files, as the kubelet's defaults are.
const LOG_LIMITS: LogLimits = LogLimits { file_bytes_max: 10 << 20, files_max: 5 };
/// What a container's code and reason are when its process could not be started; containerd's.
const START_ERROR_CODE: i32 = 128;
const START_ERROR: &str = "StartError";
/// After SIGKILL a process may still be held by the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(60);

impl Runtime {
    /// Runs the process of a created container.
    pub(super) async fn start_container(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let sandbox = self.sandbox(&container.record.sandbox)?;
        // The sandbox first, as its stop does: a container cannot start in a sandbox that is being stopped.
        let _sandbox_turn = sandbox.turn.lock().await;
        let _turn = container.turn.lock().await;
        if !matches!(container.phase(), Phase::Created) {
            return Err(Failure::precondition(format!("container {id} is not in the created state")));
        }
        let shim = sandbox.shim()?;
        match shim.call(Op::Run(Box::new(self.run_request(&container))), Vec::new()).await {
            Ok((Body::Started { pid, started_at }, _)) => {
                let dir = self.paths.container(id);
                records::write(&dir, records::STARTED, &Started { pid, started_at })?;
                container.phase.send_modify(|phase| match phase {
                    Phase::Exited { started_at: known, .. } => *known = started_at,
                    phase => *phase = Phase::Running { pid, started_at },
                });
                tracing::info!(container = id, pid, "container started");
                self.announce(&container, v1::ContainerEventType::ContainerStartedEvent);
                Ok(())
            }
            Ok(_) => Err(Failure::internal("the shim gave another answer")),
            Err(failure) => {
                self.note_start_error(&container, &failure).await?;
                Err(failure.during(format!("starting container {id}")))
            }
        }
    }

    fn run_request(&self, container: &Container) -> RunContainer {
        let record = &container.record;
        let config = container.config.lock();
        RunContainer {
            container: record.id.clone(),
            bundle: self.paths.bundle(&record.id),
            state_root: self.paths.oci_state(),
            log: record.log_path.as_ref().map(PathBuf::from),
            log_limits: LOG_LIMITS,
            exit_file: self.paths.container(&record.id).join(records::EXIT),
            cgroup: record.cgroup.clone(),
            tty: config.tty,
            stdin: config.stdin,
        }
    }

    async fn note_start_error(&self, container: &Arc<Container>, failure: &Failure) -> Result<()> {
        let exit = Exit {
            code: START_ERROR_CODE,
            finished_at: self.now(),
            oom_killed: false,
            reason: Some(START_ERROR.to_owned()),
            message: Some(failure.chain()),
        };
        let (record, written) = (container.record.clone(), exit.clone());
        self.blocking(move |me| {
            me.groups.kill(&record.cgroup)?;
            durable::remove_tree(&me.paths.oci_state().join(&record.id))
                .attempt("removing a half-made container")?;
            records::write(&me.paths.container(&record.id), records::EXIT, &written)
        })
        .await?;
        container.phase.send_replace(Phase::Exited { started_at: 0, exit });
        self.announce(container, v1::ContainerEventType::ContainerStoppedEvent);
        Ok(())
    }

    /// Asks a container to stop, and kills it after `timeout`. Unknown or exited: nothing to do.
    pub(super) async fn stop_container(&self, id: &str, timeout: Duration) -> Result<()> {
        let Some(container) = self.find_container(id) else { return Ok(()) };
        if !matches!(container.phase(), Phase::Running { .. }) {
            return Ok(());
        }
        if !timeout.is_zero() {
            self.signal(&container, container.record.stop_signal).await?;
            if tokio::time::timeout(timeout, container.exited()).await.is_ok() {
                return Ok(());
            }
        }
        self.kill_container(&container).await
    }

    async fn signal(&self, container: &Container, signal: i32) -> Result<()> {
        let shim = self.sandbox(&container.record.sandbox)?.shim()?;
        let op = Op::Signal { container: container.record.id.clone(), exec: None, signal };
        shim.call(op, Vec::new()).await.map(drop)
    }

    /// Kills everything in a container and waits until its exit is known.
    pub(super) async fn kill_container(&self, container: &Arc<Container>) -> Result<()> {
        // A start that is under way must come to its end first.
        let _turn = container.turn.lock().await;
        if !matches!(container.phase(), Phase::Running { .. }) {
            return Ok(());
        }
        if let Err(failure) = self.signal(container, libc::SIGKILL).await {
            tracing::warn!(
                container = container.record.id,
                error = failure.chain(),
                "killing through the cgroup alone"
            );
        }
        let cgroup = container.record.cgroup.clone();
        self.blocking(move |me| me.groups.kill(&cgroup)).await?;
        tokio::time::timeout(KILL_TIMEOUT, container.exited()).await.map_err(|_elapsed| {
            Failure::new(
                Code::DeadlineExceeded,
                format!("container {} does not end after SIGKILL", container.record.id),
            )
        })
    }

    /// Kills and forgets a container. Unknown: nothing to do.
    pub(super) async fn remove_container(&self, id: &str) -> Result<()> {
        match self.find_container(id) {
            Some(container) => self.remove_container_by(&container).await,
            None => Ok(()),
        }
    }

    pub(super) async fn remove_container_by(&self, container: &Arc<Container>) -> Result<()> {
        self.kill_container(container).await?;
        let _turn = container.turn.lock().await;
        let id = container.record.id.clone();
        let shim =
            self.find_sandbox(&container.record.sandbox).and_then(|sandbox| sandbox.shim.lock().clone());
        if let Some(shim) = shim {
            let forget = shim.call(Op::Forget { container: id.clone() }, Vec::new()).await;
            if let Err(failure) = forget {
                tracing::debug!(
                    container = id,
                    error = failure.chain(),
                    "the shim did not forget a container"
                );
            }
        }
        let cgroup = container.record.cgroup.clone();
        let erased = id.clone();
        self.blocking(move |me| me.erase_container(&erased, Some(&cgroup))).await?;
        if self.containers.lock().remove(&id).is_some() {
            self.announce(container, v1::ContainerEventType::ContainerDeletedEvent);
        }
        Ok(())
    }

    /// Removes everything on disk and in the kernel that belongs to a container that does not run.
    pub(super) fn erase_container(&self, id: &str, cgroup: Option<&str>) -> Result<()> {
        let bundle = self.paths.bundle(id);
        crate::images::unmount(&bundle.join("rootfs"))?;
        durable::remove_tree(&bundle).attempt("removing the bundle")?;
        durable::remove_tree(&self.paths.oci_state().join(id)).attempt("removing the container's state")?;
        if let Some(cgroup) = cgroup {
            self.groups.kill(cgroup)?;
            self.groups.remove(cgroup)?;
        }
        durable::remove_tree(&self.paths.container(id)).attempt("removing the container's files")
    }

    /// Changes limits; remembered for the status.
    pub(super) async fn update_container(&self, id: &str, wish: v1::LinuxContainerResources) -> Result<()> {
        let container = self.container(id)?;
        let _turn = container.turn.lock().await;
        if matches!(container.phase(), Phase::Exited { .. }) {
            return Err(Failure::precondition(format!("container {id} has exited")));
        }
        let running = matches!(container.phase(), Phase::Running { .. });
        let changed = Arc::clone(&container);
        self.blocking(move |me| {
            if running {
                me.groups.limit(&changed.record.cgroup, &Limits::from_cri(&wish))?;
            }
            let mut config = changed.config.lock().clone();
            let linux = config.linux.get_or_insert_default();
            merge(linux.resources.get_or_insert_default(), &wish);
            let dir = me.paths.container(&changed.record.id);
            records::write_config(&dir, &config)?;
            if !running {
                me.rewrite_limits(&changed, &config)?;
            }
            *changed.config.lock() = config;
            Ok(())
        })
        .await
    }

    /// A container that has not started takes its limits from the specification.
    fn rewrite_limits(&self, container: &Container, config: &v1::ContainerConfig) -> Result<()> {
        let path = self.paths.bundle(&container.record.id).join("config.json");
        let bytes = std::fs::read(&path).attempt("reading the specification")?;
        let mut spec: serde_json::Value =
            serde_json::from_slice(&bytes).attempt("parsing the specification")?;
        let Some(resources) = spec.pointer_mut("/linux/resources").and_then(|found| found.as_object_mut())
        else {
            return Err(Failure::internal("the specification has no resources"));
        };
        let wish = config.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
        let mut cpu = serde_json::Map::new();
        for (key, value) in
            [("shares", wish.cpu_shares), ("quota", wish.cpu_quota), ("period", wish.cpu_period)]
        {
            if value != 0 {
                cpu.insert(key.to_owned(), value.into());
            }
        }
        resources.insert("cpu".to_owned(), cpu.into());
        if wish.memory_limit_in_bytes != 0 {
            resources.insert("memory".to_owned(), serde_json::json!({"limit": wish.memory_limit_in_bytes}));
        }
        let bytes = serde_json::to_vec(&spec).attempt("writing the specification")?;
        durable::replace(&path, &bytes, durable::Sync::No).attempt("writing the specification")
    }

    /// Opens a container's log anew.
    pub(super) async fn reopen_log(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        if !matches!(container.phase(), Phase::Running { .. }) {
            return Err(Failure::precondition(format!("container {id} does not run")));
        }
        let shim = self.sandbox(&container.record.sandbox)?.shim()?;
        shim.call(Op::ReopenLog { container: id.to_owned() }, Vec::new()).await.map(drop)
    }
}

fn merge(known: &mut v1::LinuxContainerResources, wish: &v1::LinuxContainerResources) {
    let pairs = [
        (&mut known.cpu_shares, wish.cpu_shares),
        (&mut known.cpu_quota, wish.cpu_quota),
        (&mut known.cpu_period, wish.cpu_period),
        (&mut known.memory_limit_in_bytes, wish.memory_limit_in_bytes),
    ];
    for (known, wish) in pairs {
        if wish != 0 {
            *known = wish;
        }
    }
}
