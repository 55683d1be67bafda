//! One cluster for one test.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{Output, eventually, run, wait};

/// The demo image's name.
pub(crate) const IMAGE: &str = "docker.io/library/mainstay-hello:1";
const START: Duration = Duration::from_secs(60);

/// A running cluster; dropping it takes it down.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    slot: Slot,
    port: u16,
    daemon: Option<Child>,
}

/// A number that no other test of this machine has at the moment; address ranges derive from it.
struct Slot {
    number: u8,
    _lock: File,
}

impl Slot {
    fn take() -> Self {
        let taken = eventually(Duration::from_secs(600), || {
            (0..16).find_map(|number| {
                let file = File::create(format!("/tmp/mainstay-e2e-slot-{number}")).unwrap();
                flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
                Some(Self { number, _lock: file })
            })
        });
        taken.expect("no free slot within ten minutes")
    }
}

impl Cluster {
    /// Starts a cluster with the demo image and waits until it is ready.
    pub(crate) fn start() -> Self {
        let mut cluster = Self::prepare();
        cluster.up();
        cluster.import_image();
        cluster
    }

    /// A cluster that was not started yet.
    pub(crate) fn prepare() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests run containers: run them as root");
        let dir = tempfile::Builder::new().prefix("mainstay-e2e-").tempdir_in("/var/tmp").unwrap();
        Self { dir, slot: Slot::take(), port: free_port(), daemon: None }
    }

    /// Starts the daemon and gives the line that it printed when it was ready.
    #[track_caller]
    pub(crate) fn up(&mut self) -> String {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let before = fs::read_to_string(self.log()).unwrap().len();
        let mut command = self.up_command();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        let ready = eventually(START, || {
            let text = fs::read_to_string(self.log()).unwrap();
            let line = text[before..].lines().find(|line| line.starts_with("ready in ")).map(str::to_owned);
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(line.is_some() || ended.is_none(), "the daemon ended with {ended:?}:\n{text}");
            line
        });
        ready.unwrap_or_else(|| {
            panic!("not ready within {START:?}:\n{}", fs::read_to_string(self.log()).unwrap())
        })
    }

    /// `mainstay up` with this cluster's flags.
    pub(crate) fn up_command(&self) -> Command {
        let number = self.slot.number;
        let mut command = Command::new(binary());
        command
            .args(["up", "--bind", &format!("0.0.0.0:{}", self.port), "--log", "info"])
            .args(["--node-name", &format!("node-{number}")])
            .args(["--cluster-cidr", &format!("10.{}.0.0/16", 64 + number)])
            .args(["--service-cidr", &format!("10.{}.0.0/16", 96 + number)])
            .arg("--data-dir")
            .arg(self.data_dir());
        command
    }

    /// A signal to the daemon, which must end by it; its exit code.
    #[track_caller]
    pub(crate) fn end_daemon(&mut self, signal: Signal) -> i32 {
        let mut daemon = self.daemon.take().expect("the daemon does not run");
        kill_process(Pid::from_child(&daemon), signal).unwrap();
        wait(&mut daemon, "mainstay up")
    }

    /// `mainstay COMMAND … --data-dir DIR`.
    #[track_caller]
    pub(crate) fn mainstay(&self, arguments: &[&str]) -> Output {
        run(Command::new(binary()).args(arguments).arg("--data-dir").arg(self.data_dir()), "")
    }

    /// kubectl as the administrator.
    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_with(arguments, "")
    }

    /// As [`Cluster::kubectl`], with `input` on its standard input.
    #[track_caller]
    pub(crate) fn kubectl_with(&self, arguments: &[&str], input: &str) -> Output {
        run(&mut self.kubectl_command(arguments), input)
    }

    /// kubectl as whoever holds this bearer token.
    #[track_caller]
    pub(crate) fn kubectl_as(&self, token: &str, arguments: &[&str]) -> Output {
        let mut command = self.bare_kubectl();
        command.args(["--kubeconfig", "/dev/null", "--token", token]);
        command.args(["--server", &format!("https://127.0.0.1:{}", self.port)]);
        command.arg("--certificate-authority").arg(self.data_dir().join("pki/ca.crt"));
        run(command.args(arguments), "")
    }

    /// kubectl as a command to be started.
    pub(crate) fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_kubectl();
        command.arg("--kubeconfig").arg(self.data_dir().join("admin.kubeconfig")).args(arguments);
        command
    }

    fn bare_kubectl(&self) -> Command {
        let kubectl = std::env::var_os("MAINSTAY_TEST_KUBECTL").expect(
            "MAINSTAY_TEST_KUBECTL must give the path of kubectl 1.34 or later: run the tests with `make test`",
        );
        let mut command = Command::new(kubectl);
        command.env("KUBECACHEDIR", self.dir.path().join("kubectl-cache"));
        command
    }

    /// The port of its API server.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A number that no other test of this machine has at the moment.
    pub(crate) fn number(&self) -> u8 {
        self.slot.number
    }

    /// The id in the names of everything that this cluster makes on the machine.
    pub(crate) fn id(&self) -> String {
        let text = fs::read_to_string(self.data_dir().join("cluster.json")).unwrap();
        let cluster: serde_json::Value = serde_json::from_str(&text).unwrap();
        cluster["id"].as_str().unwrap().to_owned()
    }

    /// Applies a manifest.
    #[track_caller]
    pub(crate) fn apply(&self, manifest: &str) -> String {
        self.kubectl_with(&["apply", "-f", "-"], manifest).ok()
    }

    /// Imports the demo image.
    #[track_caller]
    pub(crate) fn import_image(&self) {
        let archive = self.dir.path().join("image.tar");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello/image");
        run(Command::new(script).arg(&archive).arg(IMAGE), "").ok();
        self.mainstay(&["image", "import", archive.to_str().unwrap()]).ok();
    }

    /// The cluster's data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The daemon's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.data_dir().join("cluster.json").exists() {
            let down = Command::new(binary()).arg("down").arg("--data-dir").arg(self.data_dir()).output();
            if !down.as_ref().is_ok_and(|output| output.status.success()) {
                eprintln!("mainstay down failed: {down:?}");
            }
        }
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", fs::read_to_string(self.log()).unwrap_or_default());
        }
    }
}

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_mainstay"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
