//! Machines: network namespaces on one switch, which is a namespace too, so that nothing of the host is touched.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::WallClock;
use crate::command::{Output, eventually, run};
use crate::disk::Disk;
use crate::programs::Programs;

/// The demo image's name.
pub(crate) const IMAGE: &str = "docker.io/library/mainstay-hello:1";
/// The longest wait for a daemon to be ready.
pub(crate) const START: Duration = Duration::from_secs(60);
/// The machines' network: 10.213.0.0/24. It exists in the namespaces only.
const NETWORK: &str = "10.213.0";

/// The network of one test, and the programs of its machines.
pub(crate) struct Switch {
    name: String,
    programs: Arc<Programs>,
}

impl Switch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make network namespaces: run them as root"
        );
        let name = format!("msha{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let switch = Self { name, programs: Arc::default() };
        ip(&["-n", &switch.name, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch.name, "link", "set", "br0", "up"]);
        switch
    }

    /// A machine on this network; its number ends its address.
    pub(crate) fn machine(&self, number: u8) -> Machine {
        let namespace = format!("{}-{number}", self.name);
        ip(&["netns", "add", &namespace]);
        let dir = tempfile::Builder::new().prefix("mainstay-ha-").tempdir_in("/var/tmp").unwrap();
        let (switch, programs) = (self.name.clone(), Arc::clone(&self.programs));
        let name = format!("m{number}");
        let machine = Machine {
            namespace,
            switch,
            number,
            name,
            disk: None,
            has_clock: false,
            dir,
            daemon: None,
            programs,
        };
        let (here, port) = ("eth0", machine.port());
        ip(&[
            "-n",
            &machine.namespace,
            "link",
            "add",
            here,
            "type",
            "veth",
            "peer",
            "name",
            &port,
            "netns",
            &self.name,
        ]);
        ip(&["-n", &self.name, "link", "set", &port, "master", "br0", "up"]);
        ip(&["-n", &machine.namespace, "address", "add", &format!("{}/24", machine.address()), "dev", here]);
        for link in ["lo", here] {
            ip(&["-n", &machine.namespace, "link", "set", link, "up"]);
        }
        machine
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.name]).output());
    }
}

/// One machine with at most one daemon.
pub(crate) struct Machine {
    namespace: String,
    switch: String,
    number: u8,
    name: String,
    // Before the directory, which it is in.
    disk: Option<Disk>,
    /// Whether its programs go by a wall clock of its own.
    has_clock: bool,
    dir: tempfile::TempDir,
    daemon: Option<Child>,
    /// Of its network.
    programs: Arc<Programs>,
}

impl Machine {
    pub(crate) fn address(&self) -> String {
        format!("{NETWORK}.{}", self.number)
    }

    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    /// With this name for its node, and not one of its own.
    pub(crate) fn called(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}:6443", self.address())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.disk.as_ref().map_or_else(|| self.dir.path(), Disk::path).join("data")
    }

    /// Its wall clock, which only a machine with one of its own goes by.
    pub(crate) fn clock(&self) -> WallClock {
        WallClock::new(self.dir.path())
    }

    /// With a wall clock of its own; before the first start.
    pub(crate) fn with_clock(mut self) -> Self {
        self.has_clock = true;
        self
    }

    /// With a disk of its own for the data, and a clock; before the first start.
    pub(crate) fn with_disk(mut self) -> Self {
        self.disk = Some(Disk::new(self.dir.path()));
        self.with_clock()
    }

    /// That disk.
    pub(crate) fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("the machine has a disk of its own")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The file that names this machine's network namespace.
    pub(crate) fn namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.namespace)
    }

    fn port(&self) -> String {
        format!("m{}", self.number)
    }

    /// A program on this machine.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        // nsenter and not `ip netns exec`: that would hide the cgroups.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg(program);
        command
    }

    /// The machine's `mainstay`: that under test, unless another version was installed.
    fn program(&self) -> PathBuf {
        let installed = self.installed();
        if installed.exists() { installed } else { binary().to_owned() }
    }

    fn installed(&self) -> PathBuf {
        self.dir.path().join("mainstay")
    }

    /// Puts `mainstay` of this version in the place of the one that is there, as an operator does. A daemon that runs goes on with the old one.
    pub(crate) fn install(&self, version: &str) {
        let new = self.dir.path().join("mainstay.new");
        fs::hard_link(self.programs.of(version), &new).unwrap();
        fs::rename(&new, self.installed()).unwrap();
        assert_eq!(self.mainstay(&["version"]).ok(), format!("mainstay {version}\n"));
    }

    /// `mainstay ARGUMENTS` on this machine.
    #[track_caller]
    pub(crate) fn mainstay(&self, arguments: &[&str]) -> Output {
        run(self.command(self.program()).args(arguments), "")
    }

    /// As [`Machine::mainstay`], but killed after so long, if it has not ended by then.
    #[allow(clippy::disallowed_methods, reason = "when it is killed is what is chosen")]
    pub(crate) fn killed_after(&self, arguments: &[&str], time: Duration) {
        let mut command = self.command(self.program());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(time);
        drop(child.kill()); // it may have ended
        child.wait().unwrap();
    }

    /// As [`Machine::mainstay`], with the flags of this machine's daemon, for a start that fails.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str]) -> Output {
        run(&mut self.daemon_command(arguments), "")
    }

    fn daemon_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.program());
        command.args(arguments).arg("--data-dir").arg(self.data_dir());
        // A cluster that stays alone has no flag for its address.
        let (flag, value) = match arguments.first() {
            Some(&"up") => ("--bind", format!("{}:6443", self.address())),
            _ => ("--node-ip", self.address()),
        };
        command.args(["--node-name", &self.name(), flag, &value]);
        if self.has_clock {
            self.clock().set_for(&mut command);
        }
        command
    }

    /// Starts a daemon and waits until it says that it is ready. How long that took, by this test's clock.
    #[track_caller]
    pub(crate) fn start(&mut self, arguments: &[&str]) -> Duration {
        let began = Instant::now();
        self.spawn(arguments);
        self.is_ready_soon();
        began.elapsed()
    }

    /// Waits until the daemon says that it is ready.
    #[track_caller]
    pub(crate) fn is_ready_soon(&mut self) {
        let ready = self.said("ready in ");
        ready.unwrap_or_else(|| panic!("{} is not ready within {START:?}", self.name()));
    }

    /// Whether the daemon has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.daemon.as_mut().expect("a daemon was started").try_wait().unwrap().is_some()
    }

    /// Starts a daemon.
    pub(crate) fn spawn(&mut self, arguments: &[&str]) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        drop(fs::write(self.dir.path().join("mark"), fs::read(self.log()).unwrap().len().to_string()));
        let mut command = self.daemon_command(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
    }

    /// The line of the present daemon that begins so.
    #[track_caller]
    fn said(&mut self, beginning: &str) -> Option<String> {
        let mark: usize = fs::read_to_string(self.dir.path().join("mark")).unwrap().parse().unwrap();
        let (log, name) = (self.log(), self.name());
        let daemon = self.daemon.as_mut().unwrap();
        eventually(START, || {
            let text = fs::read_to_string(&log).unwrap();
            let line = text[mark..].lines().find(|line| line.starts_with(beginning)).map(str::to_owned);
            let ended = daemon.try_wait().unwrap();
            assert!(line.is_some() || ended.is_none(), "{name} ended with {ended:?}:\n{}", &text[mark..]);
            line
        })
    }

    /// The join command that a server printed, as arguments.
    #[track_caller]
    pub(crate) fn join_arguments(&self, class: &str) -> Vec<String> {
        let beginning = format!("mainstay {class} --join ");
        let found = eventually(START, || {
            let text = fs::read_to_string(self.log()).unwrap();
            text.lines().rev().find(|line| line.starts_with(&beginning)).map(str::to_owned)
        });
        let line = found.expect("a server prints how others join");
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    }

    /// Kills the daemon as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Waits for the daemon to end by itself, and tells what it logged.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Output {
        let mark: usize = fs::read_to_string(self.dir.path().join("mark")).unwrap().parse().unwrap();
        let mut daemon = self.daemon.take().expect("a daemon was started");
        let code = crate::command::wait(&mut daemon, &self.name());
        let stderr = fs::read_to_string(self.log()).unwrap()[mark..].to_owned();
        Output { code, stdout: String::new(), stderr }
    }

    /// Ends the daemon in order.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
        assert_eq!(crate::command::wait(&mut daemon, &self.name()), 0);
    }

    /// The daemon's process.
    pub(crate) fn daemon_id(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Sends the daemon a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let daemon = self.daemon.as_ref().expect("the daemon runs");
        kill_process(Pid::from_child(daemon), signal).unwrap();
    }

    /// Every write to the disk takes a twentieth of a second, until [`Disk::be_quick`].
    pub(crate) fn slow_disk(&self) {
        self.disk().be_slow_for(self.daemon_id());
    }

    /// The power goes, and what was not on the disk by now is lost. The containers' processes are left alone.
    pub(crate) fn cut_power(&mut self) {
        self.signal(Signal::STOP); // nothing is acknowledged from here on
        self.disk().cut_power();
        self.kill();
    }

    /// Loses packets as this rule of nft says, in a chain of the hook `input` or `output`, until [`Machine::lose_nothing`].
    pub(crate) fn lose(&self, hook: &str, rule: &str) {
        let rules = format!(
            "add table ip lost; add chain ip lost {hook} {{ type filter hook {hook} priority 0; }}; add rule ip lost {hook} {rule} drop"
        );
        run(self.command("nft").arg(rules), "").ok();
    }

    /// Ends that.
    pub(crate) fn lose_nothing(&self) {
        run(self.command("nft").arg("delete table ip lost"), "").ok();
    }

    /// What is not of this network goes by a machine that does not exist.
    pub(crate) fn route_by_default(&self) {
        ip(&["-n", &self.namespace, "route", "add", "default", "via", &format!("{NETWORK}.254")]);
    }

    /// Pulls the machine's cable, or puts it back.
    pub(crate) fn cable(&self, plugged: bool) {
        ip(&["-n", &self.switch, "link", "set", &self.port(), if plugged { "up" } else { "down" }]);
    }

    /// kubectl as the administrator, on a server.
    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_with(arguments, "")
    }

    /// As [`Machine::kubectl`], with `input` on its standard input.
    #[track_caller]
    pub(crate) fn kubectl_with(&self, arguments: &[&str], input: &str) -> Output {
        let kubectl = std::env::var_os("MAINSTAY_TEST_KUBECTL").expect(
            "MAINSTAY_TEST_KUBECTL must give the path of kubectl 1.34 or later: run the tests with `make test`",
        );
        let mut command = self.command(kubectl);
        command.env("KUBECACHEDIR", self.dir.path().join("kubectl-cache"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).arg("--request-timeout=20s").args(arguments);
        run(&mut command, input)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    /// Imports the demo image.
    #[track_caller]
    pub(crate) fn import_image(&self) {
        let data_dir = self.data_dir();
        let archive = image_archive();
        self.mainstay(&[
            "image",
            "import",
            archive.to_str().unwrap(),
            "--data-dir",
            data_dir.to_str().unwrap(),
        ])
        .ok();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            if let Some(disk) = self.disk.as_ref().filter(|_| std::thread::panicking()) {
                disk.thaw_if_frozen(); // else the daemon cannot die
            }
            drop(daemon.kill());
            drop(daemon.wait());
        }
        if self.data_dir().join("cluster.json").exists() {
            let down =
                self.command(self.program()).arg("down").arg("--data-dir").arg(self.data_dir()).output();
            if !down.as_ref().is_ok_and(|output| output.status.success()) {
                eprintln!("mainstay down failed on {}: {down:?}", self.name());
            }
        }
        drop(Command::new("ip").args(["netns", "del", &self.namespace]).output());
        if std::thread::panicking() {
            eprintln!(
                "--- the log of {} ---\n{}",
                self.name(),
                fs::read_to_string(self.log()).unwrap_or_default()
            );
        }
    }
}

/// The binary under test: that of this build, or another one, for figures of a release build.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        std::env::var_os("MAINSTAY_TEST_BINARY")
            .map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
    })
}

#[track_caller]
fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments), "").ok();
}

/// The demo image's archive, made once per test program.
pub(crate) fn image_archive() -> &'static Path {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let archive = std::env::temp_dir().join(format!("mainstay-ha-{}.tar", std::process::id()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello/image");
        run(Command::new(script).arg(&archive).arg(IMAGE), "").ok();
        archive
    })
}
