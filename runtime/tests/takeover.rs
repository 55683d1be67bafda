//! A daemon that is killed leaves its containers running, and its successor knows everything. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail loudly; its support is shared by files"
)]

mod node;

use mainstay_base::lifecycle::Tasks;
use mainstay_proto_wire::cri::{RuntimeService, v1};
use mainstay_runtime::{Config, Runtime};
use node::{Node, clean, image, place};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Starts a daemon with one container and returns it with the ids of sandbox and container.
fn daemon(config: &Config, logs: &Path, script: &str) -> (Child, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mainstay-runtime-harness"))
        .arg("daemon")
        .args([config.data_dir.as_os_str(), config.run_dir.as_os_str(), config.cluster_id.as_ref()])
        .arg(config.pod_cidr.to_string())
        .arg(logs)
        .arg(script)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (sandbox, container) =
        line.trim().split_once(' ').unwrap_or_else(|| panic!("the daemon said {line:?}"));
    (child, sandbox.to_owned(), container.to_owned())
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Kills a daemon with a container that runs `script`, does `between`, and hands its successor to `test`.
fn after_kill<F: Future<Output = ()>>(
    script: &str,
    between: impl FnOnce(&Path),
    test: impl FnOnce(Arc<Node>, String, String) -> F,
) {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async {
        let (dir, config) = place();
        image::import(&config, dir.path());
        let logs = dir.path().join("logs");
        let (child, sandbox, container) = daemon(&config, &logs, script);
        kill(child);
        between(dir.path());
        let tasks = Tasks::new("test", CancellationToken::new());
        let opened = Runtime::open(config.clone(), &tasks).await;
        let runtime = match opened {
            Ok(runtime) => runtime,
            Err(error) => {
                clean(&config).await;
                panic!("{}", error.chain());
            }
        };
        let node = Arc::new(Node { dir, config: config.clone(), runtime, tasks: tasks.clone() });
        let result = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(test(
            Arc::clone(&node),
            sandbox,
            container,
        )))
        .await;
        tasks.close_and_join(std::time::Duration::from_secs(20)).await.unwrap();
        let node = Arc::into_inner(node).unwrap();
        drop(node.runtime);
        clean(&config).await;
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn running_container_is_taken_over_with_log_exec_and_exit() {
    let script = "echo before; until [ -e /tmp/go ]; do sleep 0.1; done; echo after; exit 9";
    after_kill(
        script,
        |_| {},
        async |node, sandbox, id| {
            assert_eq!(node.status(&id).await.state(), v1::ContainerState::ContainerRunning);
            let request = v1::PodSandboxStatusRequest { pod_sandbox_id: sandbox, verbose: false };
            let status = node.runtime.pod_sandbox_status(request).await.unwrap().status.unwrap();
            assert_eq!(status.state(), v1::PodSandboxState::SandboxReady);
            // The command has ended when the container ends, which would kill it.
            let command = "(sleep 0.3; touch /tmp/go) >/dev/null 2>&1 & echo done";
            assert_eq!(node.exec(&id, command).await, (0, "done\n".into()));
            assert_eq!(node.ended(&id).await.exit_code, 9);
            assert_eq!(node.log(&id).await, "before\nafter\n");
        },
    );
}

#[test]
fn exit_without_a_daemon_is_known_to_the_next_one() {
    let wait_for_exit = |dir: &Path| {
        let deadline = std::time::Duration::from_secs(30);
        let begun = std::time::Instant::now();
        loop {
            let found = std::fs::read_dir(dir.join("data/containers"))
                .unwrap()
                .flatten()
                .any(|entry| entry.path().join("exit.json").exists());
            if found {
                return;
            }
            assert!(begun.elapsed() < deadline, "the shim did not write the exit");
            std::thread::yield_now();
        }
    };
    after_kill("sleep 1; echo late; exit 5", wait_for_exit, async |node, _, id| {
        let status = node.status(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (5, "Error"));
        assert!(status.started_at > 0 && status.finished_at > status.started_at);
        assert_eq!(node.log(&id).await, "late\n");
    });
}

/// Sends a signal to every shim of the node.
fn signal_shims(dir: &Path, signal: rustix::process::Signal) {
    let shims = std::fs::read_dir(dir.join("run/s")).unwrap().flatten().map(|entry| entry.path());
    for shim in shims {
        let marker = shim.display().to_string();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&marker) {
                let pid = process.file_name().to_str().unwrap().parse().unwrap();
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                rustix::process::kill_process(pid, signal).unwrap();
            }
        }
    }
}

async fn assert_lost(node: &Node, sandbox: String, id: String) {
    let status = node.status(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (255, "Unknown"));
    let request = v1::PodSandboxStatusRequest { pod_sandbox_id: sandbox.clone(), verbose: false };
    let found = node.runtime.pod_sandbox_status(request).await.unwrap().status.unwrap();
    assert_eq!(found.state(), v1::PodSandboxState::SandboxNotready);
    node.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: sandbox }).await.unwrap();
    let left = node.runtime.list_containers(v1::ListContainersRequest::default()).await.unwrap();
    assert!(left.containers.is_empty());
}

#[test]
fn pod_whose_shim_was_killed_too_is_reported_lost_and_nothing_runs() {
    after_kill(
        "sleep 1000",
        |dir| signal_shims(dir, rustix::process::Signal::KILL),
        async |node, sandbox, id| assert_lost(&node, sandbox, id).await,
    );
}

#[test]
fn pod_whose_shim_dies_while_the_daemon_asks_it_is_reported_lost_too() {
    after_kill(
        "sleep 1000",
        |dir| {
            // It is there, does not answer, and ends while it is asked.
            signal_shims(dir, rustix::process::Signal::STOP);
            let dir = dir.to_owned();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(500));
                signal_shims(&dir, rustix::process::Signal::KILL);
            });
        },
        async |node, sandbox, id| assert_lost(&node, sandbox, id).await,
    );
}

#[test]
fn second_daemon_is_refused() {
    after_kill(
        "sleep 1000",
        |_| {},
        async |node, _, _| {
            let tasks = Tasks::new("second", CancellationToken::new());
            let error = Runtime::open(node.config.clone(), &tasks).await.err().expect("two daemons");
            assert!(error.chain().contains("another daemon uses the data directory"), "{}", error.chain());
        },
    );
}
