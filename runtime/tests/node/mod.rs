//! A node for one test: its own directories, cluster id and pod network, and an image made on the spot from
//! busybox-static. Everything is torn down also when the test fails, and it is checked that nothing stays.
#![allow(dead_code, reason = "each test file uses its part of the node")]

pub mod image;

use futures::FutureExt;
use mainstay_base::lifecycle::Tasks;
use mainstay_proto_wire::cri::{RuntimeService, v1};
use mainstay_runtime::images::Images;
use mainstay_runtime::{Config, Runtime, teardown};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub const IMAGE: &str = "test/busybox:1";
const GRACE: Duration = Duration::from_secs(20);

pub struct Node {
    pub dir: tempfile::TempDir,
    pub config: Config,
    pub runtime: Arc<Runtime>,
    pub tasks: Tasks,
}

/// Runs `test` on a node of its own.
pub fn on_node<F: Future<Output = ()>>(test: impl FnOnce(Arc<Node>) -> F) {
    assert!(rustix::process::geteuid().is_root(), "needs root: namespaces, mounts, cgroups");
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async {
        let (dir, config) = place();
        let made = config.clone();
        let tasks = Tasks::new("test", CancellationToken::new());
        let opened = AssertUnwindSafe(async {
            image::import(&config, dir.path());
            let runtime = Runtime::open(config.clone(), &tasks)
                .await
                .unwrap_or_else(|error| panic!("{}", error.chain()));
            let node = Arc::new(Node { dir, config, runtime, tasks: tasks.clone() });
            test(Arc::clone(&node)).await;
            node
        });
        let result = opened.catch_unwind().await;
        let stuck = tasks.close_and_join(GRACE).await;
        let kept = result.map(|node| {
            // The directory must outlive the teardown, the runtime must not.
            let node = Arc::into_inner(node).expect("the test kept its node");
            drop(node.runtime);
            node.dir
        });
        clean(&made).await;
        match kept {
            Ok(_dir) => assert!(stuck.is_ok(), "tasks did not end: {stuck:?}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

/// Directories and names that no other test has.
pub fn place() -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let number: u32 = rand::random();
    let cidr = format!("10.{}.{}.0/24", 200 + number % 50, (number >> 8) & 255);
    let id = format!("t{:06x}", number & 0xff_ffff);
    let mut config = Config::new(dir.path().join("data"), dir.path().join("run"), &id, cidr.parse().unwrap());
    config.self_exe = PathBuf::from(env!("CARGO_BIN_EXE_mainstay-runtime-harness"));
    (dir, config)
}

/// Tears the node down and looks for what it left.
pub async fn clean(config: &Config) {
    teardown(config).await.unwrap_or_else(|error| panic!("teardown: {}", error.chain()));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let run = config.run_dir.display().to_string();
    assert!(!mounts.contains(&run), "mounts are left below {run}");
    assert!(!std::path::Path::new("/sys/class/net").join(config.bridge()).exists(), "the bridge is left");
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let left = hierarchy.path().join(config.cgroup_root().trim_start_matches('/'));
        assert!(!left.exists(), "{} is left", left.display());
    }
    let rules = std::process::Command::new("nft").args(["list", "tables"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&rules.stdout).contains(&config.nft_table()), "rules are left");
}

impl Node {
    pub fn pod_config(&self, name: &str) -> v1::PodSandboxConfig {
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.into(),
                namespace: "default".into(),
                uid: format!("uid-{name}"),
                attempt: 0,
            }),
            hostname: name.into(),
            log_directory: self.dir.path().join("logs").join(name).display().to_string(),
            dns_config: Some(v1::DnsConfig { servers: vec!["192.0.2.53".into()], ..Default::default() }),
            ..Default::default()
        }
    }

    pub async fn pod(&self, name: &str) -> String {
        self.pod_with(self.pod_config(name)).await
    }

    pub async fn pod_with(&self, config: v1::PodSandboxConfig) -> String {
        let request = v1::RunPodSandboxRequest { config: Some(config), ..Default::default() };
        self.runtime.run_pod_sandbox(request).await.unwrap().pod_sandbox_id
    }

    pub fn script(name: &str, script: &str) -> v1::ContainerConfig {
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: IMAGE.into(), ..Default::default() }),
            command: vec!["/bin/sh".into(), "-c".into(), script.into()],
            log_path: format!("{name}/0.log"),
            linux: Some(v1::LinuxContainerConfig {
                resources: None,
                security_context: Some(v1::LinuxContainerSecurityContext {
                    seccomp: Some(v1::SecurityProfile::default()),
                    namespace_options: Some(v1::NamespaceOption {
                        pid: v1::NamespaceMode::Container.into(),
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        }
    }

    pub async fn create(&self, sandbox: &str, config: v1::ContainerConfig) -> String {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: None,
        };
        self.runtime.create_container(request).await.unwrap().container_id
    }

    pub async fn start(&self, sandbox: &str, config: v1::ContainerConfig) -> String {
        let id = self.create(sandbox, config).await;
        RuntimeService::start_container(
            &*self.runtime,
            v1::StartContainerRequest { container_id: id.clone() },
        )
        .await
        .unwrap();
        id
    }

    pub async fn status(&self, id: &str) -> v1::ContainerStatus {
        let request = v1::ContainerStatusRequest { container_id: id.into(), verbose: false };
        self.runtime.container_status(request).await.unwrap().status.unwrap()
    }

    /// The status after the container has exited.
    pub async fn ended(&self, id: &str) -> v1::ContainerStatus {
        let wait = async {
            loop {
                let mut events = self.runtime.get_container_events();
                let status = self.status(id).await;
                if status.state() == v1::ContainerState::ContainerExited {
                    return status;
                }
                events.recv().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the container did not end")
    }

    pub async fn log(&self, id: &str) -> String {
        let path = self.status(id).await.log_path;
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned() + "\n").collect()
    }

    /// Runs a container to its end.
    pub async fn run(&self, sandbox: &str, config: v1::ContainerConfig) -> (i32, String) {
        let id = self.start(sandbox, config).await;
        let status = self.ended(&id).await;
        (status.exit_code, self.log(&id).await)
    }

    pub async fn exec(&self, id: &str, script: &str) -> (i32, String) {
        let request = v1::ExecSyncRequest {
            container_id: id.into(),
            cmd: vec!["/bin/sh".into(), "-c".into(), script.into()],
            timeout: 30,
        };
        let done = self.runtime.exec_sync(request).await.unwrap();
        let text = [done.stdout, done.stderr].concat();
        (done.exit_code, String::from_utf8_lossy(&text).into_owned())
    }

    pub async fn stop(&self, id: &str, timeout: i64) {
        let request = v1::StopContainerRequest { container_id: id.into(), timeout };
        RuntimeService::stop_container(&*self.runtime, request).await.unwrap();
    }

    pub fn images(&self) -> &Images {
        self.runtime.images()
    }
}
