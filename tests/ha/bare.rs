//! Bare machines: each with a file system, a name and processes of its own, so that an operator's commands can be typed there as they stand in
//! the documentation, with the paths that are the default.
//!
//! The host's files are read through an overlay and never written. Such a machine may have systemd as its first process: it knows the
//! units of its packages, but what would touch the host's devices and kernel is masked. It can be booted anew, in order or by a power cut: its files and
//! its cable stay, all else is gone.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::command::{Output, eventually, run};
use crate::machine::{Machine, START, binary};

/// The first process is systemd, or one that waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    Systemd,
    Nothing,
}

/// The machine's disk, and its boots, one after the other: another one follows when the first process has ended, because it asked for that
/// (`reboot(2)`) or was killed. Its arguments are those of [`BOOT`], and before them that itself.
const MACHINE: &str = r#"
boot=$1; shift
mkdir -p $1/upper $1/root $1/data
mount -t tmpfs tmpfs $1/upper # not inside the lower layer
mkdir $1/upper/changed $1/upper/work
# A file system of another test is gone only once nobody has it mounted.
for point in $(cut -d ' ' -f 2 /proc/self/mounts | tac); do
    case $point in $1/*) ;; /tmp/* | /var/tmp/*) umount -l $point ;; esac
done
touch $1/upper/booted
while rm $1/upper/booted; do
    setpriv --pdeathsig KILL unshare --mount --uts --ipc --pid $3 --fork --kill-child --propagation private bash -ec "$boot" bash "$@" 2>$1/upper/said || true
    [ -e $1/upper/booted ] || cat $1/upper/said >&2
    # Nothing of these outlives a kernel.
    nft flush ruleset
    for link in $(ip -o link | cut -d : -f 2 | cut -d @ -f 1); do
        case $link in lo | eth0) ;; *) ip link delete $link 2>/dev/null || true ;; esac
    done
done
"#;

/// One boot. Its arguments: the machine's directory, its name, `--cgroup` if systemd comes first, the program under test, and kubectl.
const BOOT: &str = r"
dir=$1 name=$2 init=$3 mainstay=$4 kubectl=$5
rm -rf $dir/upper/proc $dir/upper/devices
mount -t overlay overlay -o lowerdir=/,upperdir=$dir/upper/changed,workdir=$dir/upper/work $dir/root
cd $dir/root
if [ ! -e $dir/upper/installed ]; then
    rm -rf var/lib/mainstay etc/mainstay etc/systemd/system usr/local/bin/mainstay
    mkdir -p var/lib/mainstay etc/systemd/system
fi
mount --bind $dir/data var/lib/mainstay
rm -f usr/local/bin/kubectl
touch root/mainstay usr/local/bin/kubectl
mount --bind $mainstay root/mainstay # wherever it is: other file systems are not in the overlay
mount --bind $kubectl usr/local/bin/kubectl
mount -t proc proc proc
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
if [ $init = --cgroup ]; then
    mkdir $dir/upper/proc
    mount -t proc proc $dir/upper/proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount --bind $dir/upper/proc/sys/net proc/sys/net # of this machine alone
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mkdir $dir/upper/devices
    for device in null zero full random urandom; do touch $dir/upper/devices/$device; mount --bind /dev/$device $dir/upper/devices/$device; done
    mount --rbind $dir/upper/devices dev
    mkdir dev/shm dev/pts
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    for path in /proc/self/fd:fd /proc/self/fd/0:stdin /proc/self/fd/1:stdout /proc/self/fd/2:stderr pts/ptmx:ptmx; do
        ln -s ${path%:*} dev/${path#*:}
    done
    echo $name > etc/hostname
    printf '%s\n' $name | md5sum | cut -c 1-32 > etc/machine-id
    for unit in getty.target systemd-logind.service systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
        systemd-udev-trigger.service systemd-udev-settle.service systemd-modules-load.service systemd-sysctl.service systemd-binfmt.service \
        proc-sys-fs-binfmt_misc.automount systemd-random-seed.service systemd-remount-fs.service systemd-hwdb-update.service \
        systemd-journald-audit.socket systemd-pstore.service systemd-boot-system-token.service dev-hugepages.mount dev-mqueue.mount \
        sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount kmod-static-nodes.service \
        systemd-firstboot.service systemd-sysusers.service systemd-timesyncd.service systemd-networkd.service systemd-resolved.service \
        modprobe@.service e2scrub_reap.service dbus.service dbus.socket; do
        ln -sf /dev/null etc/systemd/system/$unit
    done
    : > etc/fstab
else
    mount --rbind /sys sys
    mount --rbind /dev dev
fi
hostname $name
pivot_root . mnt
cd /
touch /mnt$dir/upper/installed /mnt$dir/upper/booted
umount -l mnt
echo set up
if [ $init = --cgroup ]; then
    exec env -i container=test /lib/systemd/systemd --system --unit=multi-user.target --show-status=no
fi
sleep infinity & wait # a shell takes note of orphans that end
";

/// A machine of its own. It ends, with all that runs on it, when it is dropped.
pub(crate) struct Bare {
    machine: Machine,
    dir: tempfile::TempDir,
    /// Holds the namespaces: when it ends, the first process is killed, and with that all others.
    holder: Child,
    /// Tells of each boot.
    boots: BufReader<ChildStdout>,
    /// The first process, as the host counts.
    first: u32,
    /// The control group of systemd's machines.
    group: Option<PathBuf>,
    /// What was started in the foreground.
    terminals: Vec<Child>,
}

impl Bare {
    pub(crate) fn new(machine: Machine, init: Init) -> Self {
        let dir = tempfile::Builder::new().prefix("mainstay-bare-").tempdir_in("/var/tmp").unwrap();
        machine.route_by_default();
        let group = (init == Init::Systemd).then(|| make_group(&machine.name()));
        let enter = group
            .as_ref()
            .map_or_else(String::new, |group| format!("echo $$ > {}/cgroup.procs;", group.display()));
        let unshare =
            format!("{enter} exec unshare --mount --fork --kill-child --propagation private bash -ec \"$@\"");
        let mut command = machine.command("bash");
        command.args(["-ec", &unshare, "bash", MACHINE, "bash", BOOT]).arg(dir.path()).arg(machine.name());
        command.arg(if init == Init::Systemd { "--cgroup" } else { "--fork" }).arg(binary()).arg(kubectl());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let boots = BufReader::new(holder.stdout.take().unwrap());
        let mut bare = Self { machine, dir, holder, boots, first: 0, group, terminals: Vec::new() };
        bare.is_booted();
        bare
    }

    /// Waits for the next boot.
    #[track_caller]
    fn is_booted(&mut self) {
        let mut line = String::new();
        self.boots.read_line(&mut line).unwrap();
        assert_eq!(line, "set up\n", "the machine could not be made");
        // The loop over the boots, what holds the namespaces of this one, and its first process.
        self.first = (0..3).fold(self.holder.id(), |parent, _| only_child(parent));
    }

    /// Cuts the power: all that runs is gone at once. Returns when the machine has booted again.
    #[track_caller]
    pub(crate) fn lose_power(&mut self) {
        let first = Pid::from_raw(self.first.try_into().unwrap()).unwrap();
        kill_process(first, Signal::KILL).unwrap();
        for mut terminal in self.terminals.drain(..) {
            terminal.wait().unwrap();
        }
        self.is_booted();
    }

    /// Has its systemd reboot in order.
    #[track_caller]
    pub(crate) fn reboot(&mut self) {
        self.run("systemctl reboot").ok();
        self.is_booted();
    }

    pub(crate) fn name(&self) -> String {
        self.machine.name()
    }

    /// Commands of a shell on this machine, as root, in root's directory.
    pub(crate) fn shell(&self, commands: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid"]);
        if self.group.is_some() {
            command.arg("--cgroup"); // else the hierarchy would seem to be a part of the host's
        }
        command.args(["env", "-i", "HOME=/root", "TERM=dumb"]);
        command.arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["bash", "-ec", &format!("cd\n{commands}")]);
        command
    }

    /// Has them carried out, one after the other, until one fails.
    #[track_caller]
    pub(crate) fn run(&self, commands: &str) -> Output {
        run(&mut self.shell(commands), "")
    }

    /// Starts something that stays in the foreground of a terminal of its own, and waits until it says a line that begins so.
    #[track_caller]
    pub(crate) fn starts(&mut self, commands: &str, says: &str) {
        let log = self.log();
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let before = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let mut command = self.shell(commands);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        self.terminals.push(command.spawn().unwrap());
        let said = || fs::read_to_string(&log).unwrap();
        let is_said = || said()[before..].lines().any(|line| line.starts_with(says));
        let is_said = eventually(START, || is_said().then_some(()));
        is_said.unwrap_or_else(|| panic!("{} did not say {says:?}:\n{}", self.name(), said()));
    }

    /// A file that may be written from outside, as `/var/lib/mainstay/NAME` there.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join("data").join(name)
    }

    /// What its terminals show.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("terminals")
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let journal = self.run("journalctl --no-pager -n 80 2>/dev/null || true").stdout;
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            eprintln!("--- the terminals of {} ---\n{log}\n--- and its journal ---\n{journal}", self.name());
        }
        // So that no control groups are left; what it is about may have been taken away already.
        let down = "systemctl stop mainstay 2>/dev/null || true; [ ! -e /var/lib/mainstay/cluster.json ] || /root/mainstay down";
        drop(self.shell(down).output());
        drop(self.holder.kill());
        drop(self.holder.wait());
        for terminal in &mut self.terminals {
            drop(terminal.wait()); // its processes ended with the machine
        }
        if let Some(group) = &self.group {
            let gone = eventually(Duration::from_secs(20), || remove_group(group).ok());
            if gone.is_none() {
                eprintln!("{} is left", group.display());
            }
        }
    }
}

fn only_child(parent: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    children.trim().parse().unwrap_or_else(|_| panic!("{parent} has one child: {children:?}"))
}

fn kubectl() -> std::ffi::OsString {
    std::env::var_os("MAINSTAY_TEST_KUBECTL").expect(
        "MAINSTAY_TEST_KUBECTL must give the path of kubectl 1.34 or later: run the tests with `make test`",
    )
}

/// A control group of the unified hierarchy, wherever that is.
fn make_group(name: &str) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut unified = mounts.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let point = unified.next().and_then(|line| line.split(' ').nth(1));
    let point = point.expect("this test boots systemd, which needs a cgroup2 hierarchy: mount one");
    let group = Path::new(point).join(format!("mainstay-test-{}-{name}", std::process::id()));
    fs::create_dir(&group).unwrap();
    group
}

/// With all below it; they are empty when the last process has ended.
fn remove_group(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
