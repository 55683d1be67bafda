//! Opening a data directory: what is there is found again, what runs is taken over, what died meanwhile is noted.

use super::records::{self, ContainerRecord, EXIT, RECORD, STARTED, SandboxRecord, Started};
use super::runtime::{Container, Phase, Runtime, Sandbox};
use super::sandboxes::release_run_dir;
use crate::cgroup::Hierarchies;
use crate::config::{Config, Paths};
use crate::durable::{self, Lock};
use crate::failure::{Attempt, Failure, Result};
use crate::images::Images;
use crate::network::{Addresses, HostPort, Network};
use crate::shim::{Body, Client, Exit, Op, State};
use mainstay_base::lifecycle::{Clock, Tasks};
use mainstay_proto_wire::cri::v1;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Opens everything. See [`Runtime::open`].
pub(super) async fn open(config: Config, tasks: Tasks, clock: Arc<dyn Clock>) -> Result<Arc<Runtime>> {
    let paths = config.paths();
    let found = {
        let (config, paths) = (config.clone(), paths.clone());
        tokio::task::spawn_blocking(move || Found::read(&config, &paths))
            .await
            .attempt("reading the data directory")??
    };
    let known: HashSet<String> = found.sandboxes.iter().map(|(record, _)| record.id.clone()).collect();
    let addresses = Addresses::open(paths.addresses(), config.pod_cidr, &known)?;
    let network = Network::open(config.clone(), addresses, &found.host_ports()).await?;
    let runtime = Arc::new_cyclic(|me| Runtime {
        paths,
        images: found.images,
        network,
        groups: found.groups,
        exe: found.exe,
        tasks,
        clock,
        events: Runtime::event_channel(),
        sandboxes: Mutex::new(HashMap::new()),
        containers: Mutex::new(HashMap::new()),
        me: me.clone(),
        _lock: found.lock,
        config,
    });
    for (record, config) in found.sandboxes {
        runtime.take_over(record, config, &found.containers).await?;
    }
    runtime.drop_strays(&found.containers).await?;
    Ok(runtime)
}

/// What lies on disk.
struct Found {
    lock: Lock,
    images: Images,
    groups: Hierarchies,
    exe: std::fs::File,
    sandboxes: Vec<(SandboxRecord, v1::PodSandboxConfig)>,
    containers: Vec<(ContainerRecord, v1::ContainerConfig)>,
}

impl Found {
    fn read(config: &Config, paths: &Paths) -> Result<Self> {
        for dir in [
            paths.sandboxes(),
            paths.containers(),
            paths.run.join("s"),
            paths.run.join("c"),
            paths.oci_state(),
        ] {
            std::fs::create_dir_all(&dir).attempt_with(|| format!("making {}", dir.display()))?;
        }
        let lock = Lock::try_exclusive(&paths.data.join("runtime.lock"))
            .attempt("locking the data directory")?
            .ok_or_else(|| {
                Failure::precondition(format!(
                    "another daemon uses the data directory {}",
                    paths.data.display()
                ))
            })?;
        let groups = Hierarchies::find()?;
        groups.create(&format!("{}/shims", config.cgroup_root()))?;
        let exe = crate::sys::sealed_executable(&config.self_exe)
            .attempt_with(|| format!("sealing {}", config.self_exe.display()))?;
        Ok(Self {
            lock,
            images: Images::open(config)?,
            groups,
            exe,
            sandboxes: load(&paths.sandboxes(), |record: &SandboxRecord| record.version)?,
            containers: load(&paths.containers(), |record: &ContainerRecord| record.version)?,
        })
    }

    fn host_ports(&self) -> Vec<(Ipv4Addr, HostPort)> {
        let live = self.sandboxes.iter().map(|(record, _)| record).filter(|record| !record.stopped);
        let ports = live.filter_map(|record| Some((record.address?, &record.host_ports)));
        ports.flat_map(|(address, ports)| ports.iter().map(move |port| (address, port.clone()))).collect()
    }
}

/// Reads every record of a directory. One that is broken is said aloud and left for a person: it may lead to
/// something that still runs.
fn load<R, C>(dir: &Path, version: impl Fn(&R) -> u32) -> Result<Vec<(R, C)>>
where
    R: serde::de::DeserializeOwned,
    C: prost::Message + Default,
{
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).attempt_with(|| format!("listing {}", dir.display()))? {
        let path = entry.attempt_with(|| format!("listing {}", dir.display()))?.path();
        let read = || -> Result<Option<(R, C)>> {
            let Some(record) = records::read::<R>(&path, RECORD)? else { return Ok(None) };
            if version(&record) != records::VERSION {
                return Err(Failure::internal(format!("{} is of another version", path.display())));
            }
            Ok(Some((record, records::read_config(&path)?)))
        };
        match read() {
            Ok(Some(pair)) => found.push(pair),
            // Without a record nothing was started for it yet.
            Ok(None) => {
                durable::remove_tree(&path).attempt_with(|| format!("removing {}", path.display()))?;
            }
            Err(failure) => {
                tracing::error!(path = %path.display(), error = failure.chain(), "a record cannot be read");
            }
        }
    }
    Ok(found)
}

impl Runtime {
    /// Takes over one sandbox with its containers.
    async fn take_over(
        &self,
        record: SandboxRecord,
        config: v1::PodSandboxConfig,
        containers: &[(ContainerRecord, v1::ContainerConfig)],
    ) -> Result<()> {
        let id = record.id.clone();
        let sandbox = Arc::new(Sandbox {
            config,
            record: Mutex::new(record),
            shim: Mutex::new(None),
            execs: Mutex::new(HashMap::new()),
            turn: tokio::sync::Mutex::new(()),
        });
        let states = self.ask_shim(&sandbox).await?;
        let mut phases = Vec::new();
        for (record, config) in containers.iter().filter(|(record, _)| record.sandbox == id) {
            let told = states.as_ref().and_then(|states| states.get(&record.id).cloned());
            let (asked, alive) = (record.clone(), states.is_some());
            let phase = self.blocking(move |me| me.phase_of(&asked, told, alive)).await?;
            phases.push((record.clone(), config.clone(), phase));
        }
        for (record, config, phase) in phases {
            let container = Container {
                config: Mutex::new(config),
                phase: watch::Sender::new(phase),
                turn: tokio::sync::Mutex::new(()),
                record,
            };
            self.containers.lock().insert(container.record.id.clone(), Arc::new(container));
        }
        self.sandboxes.lock().insert(id.clone(), Arc::clone(&sandbox));
        if states.is_some() {
            self.follow_again(&sandbox).await?;
            tracing::info!(sandbox = id, "took over a running pod sandbox");
        } else if !sandbox.record.lock().stopped {
            let run = self.paths.sandbox_run(&id);
            self.blocking(move |_| release_run_dir(&run)).await?;
        }
        Ok(())
    }

    /// What the shim knows; nothing when there is none any more.
    async fn ask_shim(&self, sandbox: &Sandbox) -> Result<Option<HashMap<String, State>>> {
        let dir = self.paths.sandbox_run(&sandbox.id());
        if !Client::lives(&dir) {
            return Ok(None);
        }
        let Some((client, _events)) = Client::connect(&dir, &self.tasks)? else { return Ok(None) };
        ask(&client, &dir).await
    }

    /// Follows the events of a shim that was asked before, and asks once more: nothing that ended between is lost.
    async fn follow_again(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        if !self.follow_shim(sandbox)? {
            self.lost_shim(sandbox).await;
            return Ok(());
        }
        // One that ends here was followed: its end is told by that.
        let Ok(client) = sandbox.shim() else { return Ok(()) };
        let states = ask(&client, &self.paths.sandbox_run(&sandbox.id())).await?;
        for (id, state) in states.unwrap_or_default() {
            if let (Some(container), State::Exited(exit)) = (self.find_container(&id), state) {
                self.note_exit(&container, &exit);
            }
        }
        Ok(())
    }

    /// Where a container is, by its shim and its files. Blocking.
    fn phase_of(&self, record: &ContainerRecord, told: Option<State>, alive: bool) -> Result<Phase> {
        let dir = self.paths.container(&record.id);
        let started: Option<Started> = records::read(&dir, STARTED)?;
        let started_at = started.as_ref().map_or(0, |started| started.started_at);
        match told {
            Some(State::Running { pid }) => {
                // The last daemon may have died before it noted the start.
                let started = started.unwrap_or(Started { pid, started_at: record.created_at });
                records::write(&dir, STARTED, &started)?;
                return Ok(Phase::Running { pid, started_at: started.started_at });
            }
            Some(State::Exited(exit)) => return Ok(Phase::Exited { started_at, exit }),
            None => {}
        }
        if let Some(exit) = records::read::<Exit>(&dir, EXIT)? {
            return Ok(Phase::Exited { started_at, exit });
        }
        if started.is_none() && alive {
            return Ok(Phase::Created);
        }
        Ok(Phase::Exited { started_at, exit: self.settle_lost(record)? })
    }

    /// Containers whose sandbox is gone.
    async fn drop_strays(&self, containers: &[(ContainerRecord, v1::ContainerConfig)]) -> Result<()> {
        for (record, _) in containers {
            if self.find_sandbox(&record.sandbox).is_none() {
                tracing::warn!(container = record.id, "removing a container without a sandbox");
                let record = record.clone();
                self.blocking(move |me| me.erase_container(&record.id, Some(&record.cgroup))).await?;
            }
        }
        Ok(())
    }
}

/// How long the kernel may take to close what a dead process held, in steps of [`CLOSING_STEP`].
const CLOSING_STEPS: usize = 100;
const CLOSING_STEP: Duration = Duration::from_millis(20);

/// What a shim knows. Nothing when it ends meanwhile, by whatever error that shows: a pod whose shim dies just now
/// is lost like any other, and keeps no daemon from its start.
async fn ask(client: &Client, dir: &Path) -> Result<Option<HashMap<String, State>>> {
    let failure = match client.call(Op::List, Vec::new()).await {
        Ok((Body::Containers(list), _)) => return Ok(Some(list.into_iter().collect())),
        Ok(_) => return Err(Failure::internal("the shim gave another answer")),
        Err(failure) => failure,
    };
    // Its socket may be closed before its lock: the kernel ends a process bit by bit.
    for _ in 0..CLOSING_STEPS {
        if !Client::lives(dir) {
            return Ok(None);
        }
        tokio::time::sleep(CLOSING_STEP).await;
    }
    Err(failure)
}
