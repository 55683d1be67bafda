//! Control groups, version 1, 2 and hybrid: the same path in every hierarchy that is mounted. libcontainer makes a
//! container's groups; here they are made for shims, limited, read, killed and removed.

use crate::failure::{Attempt, Failure, Result};
use mainstay_proto_wire::cri::v1::LinuxContainerResources;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a kill is repeated while a group keeps forking.
const KILL_ROUNDS_MAX: usize = 200;

/// The mounted hierarchies.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchies {
    /// Version 1: controllers and mount point.
    v1: Vec<(Vec<String>, PathBuf)>,
    v2: Option<PathBuf>,
}

/// Limits as numbers; what is absent is left alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) cpu_shares: Option<i64>,
    pub(crate) cpu_period: Option<i64>,
    pub(crate) cpu_quota: Option<i64>,
    pub(crate) memory: Option<i64>,
    pub(crate) pids: Option<i64>,
}

impl Limits {
    /// CRI's zero means unset.
    pub(crate) fn from_cri(resources: &LinuxContainerResources) -> Self {
        let set = |value: i64| Some(value).filter(|value| *value != 0);
        Self {
            cpu_shares: set(resources.cpu_shares),
            cpu_period: set(resources.cpu_period),
            cpu_quota: set(resources.cpu_quota),
            memory: set(resources.memory_limit_in_bytes),
            pids: None,
        }
    }
}

/// What a group has used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_nanoseconds: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) inactive_file_bytes: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) page_faults: u64,
    pub(crate) major_page_faults: u64,
    pub(crate) memory_limit_bytes: Option<u64>,
}

impl Hierarchies {
    /// Finds what is mounted.
    pub(crate) fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").attempt("reading the mounts")?;
        let found = Self::parse(&mounts);
        if found.v1.is_empty() && found.v2.is_none() {
            return Err(Failure::precondition("no cgroup hierarchy is mounted"));
        }
        Ok(found)
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self { v1: Vec::new(), v2: None };
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut left = left.split(' ').skip(3);
            let (root, point) = (left.next().unwrap_or_default(), left.next().unwrap_or_default());
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
            if root != "/" || !point.starts_with("/sys/fs/cgroup") {
                continue;
            }
            match kind {
                "cgroup" => {
                    let controllers = options
                        .split(',')
                        .filter(|option| !matches!(*option, "rw" | "ro" | "xattr" | "clone_children"))
                        .map(str::to_owned)
                        .collect();
                    found.v1.push((controllers, PathBuf::from(point)));
                }
                "cgroup2" => found.v2 = Some(PathBuf::from(point)),
                _ => {}
            }
        }
        found
    }

    /// True when there is only version 2.
    pub(crate) fn unified(&self) -> bool {
        self.v1.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.v1.iter().map(|(_, point)| point).chain(&self.v2)
    }

    fn v1_dir(&self, controller: &str, group: &str) -> Option<PathBuf> {
        let has =
            |(controllers, _): &&(Vec<String>, PathBuf)| controllers.iter().any(|name| name == controller);
        self.v1.iter().find(has).map(|(_, point)| below(point, group))
    }

    /// Under version 1: where programs look for their limits, and the directories that say it for `group`.
    pub(crate) fn views(&self, group: &str) -> Vec<(PathBuf, String)> {
        let view = |controller: &str| {
            self.v1_dir(controller, group).map(|dir| (dir, format!("/sys/fs/cgroup/{controller}")))
        };
        ["memory", "cpu", "cpuacct", "cpuset", "pids"].into_iter().filter_map(view).collect()
    }

    fn v2_dir(&self, group: &str) -> Option<PathBuf> {
        self.v2.as_ref().filter(|_| self.unified()).map(|point| below(point, group))
    }

    /// Makes a group in every hierarchy, and hands it the controllers under version 2.
    pub(crate) fn create(&self, group: &str) -> Result<()> {
        for point in self.all() {
            if Some(point) == self.v2.as_ref() && self.unified() {
                delegate(point, group)?;
            }
            let dir = below(point, group);
            fs::create_dir_all(&dir).attempt_with(|| format!("making cgroup {}", dir.display()))?;
            inherit_cpuset(point, group)?;
        }
        Ok(())
    }

    /// Moves a process into a group that exists.
    pub(crate) fn enter(&self, group: &str, pid: u32) -> Result<()> {
        for point in self.all() {
            let file = below(point, group).join("cgroup.procs");
            fs::write(&file, pid.to_string())
                .attempt_with(|| format!("moving process {pid} into {}", file.display()))?;
        }
        Ok(())
    }

    /// Sets limits of a group that exists.
    pub(crate) fn limit(&self, group: &str, limits: &Limits) -> Result<()> {
        if let Some(dir) = self.v2_dir(group) {
            return limit_v2(&dir, limits);
        }
        let cpu = self.v1_dir("cpu", group);
        write_limit(cpu.as_deref(), "cpu.shares", limits.cpu_shares)?;
        write_limit(cpu.as_deref(), "cpu.cfs_period_us", limits.cpu_period)?;
        write_limit(cpu.as_deref(), "cpu.cfs_quota_us", limits.cpu_quota)?;
        write_limit(self.v1_dir("memory", group).as_deref(), "memory.limit_in_bytes", limits.memory)?;
        write_limit(self.v1_dir("pids", group).as_deref(), "pids.max", limits.pids)
    }

    /// How many processes of the group and its children the OOM killer ended.
    pub(crate) fn oom_kills(&self, group: &str) -> u64 {
        match self.v2_dir(group) {
            Some(dir) => keyed(&dir.join("memory.events"), "oom_kill"),
            None => self
                .v1_dir("memory", group)
                .map_or(0, |dir| keyed(&dir.join("memory.oom_control"), "oom_kill")),
        }
    }

    /// What the group used; zero where the kernel does not say.
    pub(crate) fn usage(&self, group: &str) -> Usage {
        if let Some(dir) = self.v2_dir(group) {
            let stat = dir.join("memory.stat");
            return Usage {
                cpu_nanoseconds: keyed(&dir.join("cpu.stat"), "usage_usec") * 1000,
                memory_bytes: number(&dir.join("memory.current")),
                inactive_file_bytes: keyed(&stat, "inactive_file"),
                rss_bytes: keyed(&stat, "anon"),
                page_faults: keyed(&stat, "pgfault"),
                major_page_faults: keyed(&stat, "pgmajfault"),
                memory_limit_bytes: limit_of(&dir.join("memory.max")),
            };
        }
        let memory = self.v1_dir("memory", group).unwrap_or_default();
        let stat = memory.join("memory.stat");
        let file = |controller: &str, name: &str| {
            self.v1_dir(controller, group).map_or(0, |dir| number(&dir.join(name)))
        };
        Usage {
            cpu_nanoseconds: file("cpuacct", "cpuacct.usage"),
            memory_bytes: number(&memory.join("memory.usage_in_bytes")),
            inactive_file_bytes: keyed(&stat, "total_inactive_file"),
            rss_bytes: keyed(&stat, "total_rss"),
            page_faults: keyed(&stat, "total_pgfault"),
            major_page_faults: keyed(&stat, "total_pgmajfault"),
            memory_limit_bytes: limit_of(&memory.join("memory.limit_in_bytes")),
        }
    }

    /// The processes of a group and of its children.
    pub(crate) fn processes(&self, group: &str) -> Vec<i32> {
        let mut found = Vec::new();
        for point in self.all() {
            collect_processes(&below(point, group), &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Kills every process of a group and its children, and waits until they are gone. Blocking, a few milliseconds.
    pub(crate) fn kill(&self, group: &str) -> Result<()> {
        if let Some(dir) = self.v2_dir(group)
            && fs::write(dir.join("cgroup.kill"), "1").is_ok()
        {
            return self.wait_empty(group);
        }
        self.freeze(group, true);
        for pid in self.processes(group) {
            kill_process(pid);
        }
        self.freeze(group, false);
        self.wait_empty(group)
    }

    fn wait_empty(&self, group: &str) -> Result<()> {
        for _ in 0..KILL_ROUNDS_MAX {
            let processes = self.processes(group);
            let Some(first) = processes.first() else { return Ok(()) };
            for pid in &processes {
                kill_process(*pid);
            }
            wait_for_exit(*first, Duration::from_millis(50));
        }
        Err(Failure::internal(format!("processes of cgroup {group} do not die")))
    }

    fn freeze(&self, group: &str, frozen: bool) {
        // Best effort: without the freezer the rounds of `wait_empty` do the work.
        if let Some(dir) = self.v1_dir("freezer", group) {
            drop(fs::write(dir.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }));
        }
    }

    /// Removes a group and its children in every hierarchy. They must be empty of processes; absent is fine.
    pub(crate) fn remove(&self, group: &str) -> Result<()> {
        for point in self.all() {
            remove_groups(&below(point, group))?;
        }
        Ok(())
    }
}

fn below(point: &Path, group: &str) -> PathBuf {
    point.join(group.trim_start_matches('/'))
}

/// Version 2: the parents must pass their controllers on before a child can use them.
fn delegate(point: &Path, group: &str) -> Result<()> {
    let mut dir = point.to_owned();
    for part in group.trim_matches('/').split('/') {
        let controllers =
            fs::read_to_string(dir.join("cgroup.controllers")).attempt("reading cgroup controllers")?;
        for controller in controllers
            .split_whitespace()
            .filter(|name| ["cpu", "cpuset", "memory", "pids", "io"].contains(name))
        {
            fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"))
                .attempt_with(|| format!("passing {controller} on in {}", dir.display()))?;
        }
        dir.push(part);
        fs::create_dir_all(&dir).attempt_with(|| format!("making cgroup {}", dir.display()))?;
    }
    Ok(())
}

/// Version 1: a new cpuset is empty, and an empty one takes no process.
fn inherit_cpuset(point: &Path, group: &str) -> Result<()> {
    if !point.join("cpuset.cpus").exists() {
        return Ok(());
    }
    let mut dir = point.to_owned();
    for part in group.trim_matches('/').split('/') {
        let parent = dir.clone();
        dir.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(dir.join(file)).attempt("reading a cpuset")?;
            if own.trim().is_empty() {
                let value = fs::read_to_string(parent.join(file)).attempt("reading a cpuset")?;
                fs::write(dir.join(file), value.trim()).attempt("setting a cpuset")?;
            }
        }
    }
    Ok(())
}

fn write_limit(dir: Option<&Path>, file: &str, value: Option<i64>) -> Result<()> {
    let (Some(dir), Some(value)) = (dir, value) else { return Ok(()) };
    let path = dir.join(file);
    fs::write(&path, value.to_string()).attempt_with(|| format!("writing {value} to {}", path.display()))
}

fn limit_v2(dir: &Path, limits: &Limits) -> Result<()> {
    write_limit(Some(dir), "cpu.weight", limits.cpu_shares.map(cpu_weight))?;
    if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
        let quota = limits
            .cpu_quota
            .filter(|quota| *quota > 0)
            .map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        let text = format!("{quota} {}", limits.cpu_period.unwrap_or(100_000));
        fs::write(dir.join("cpu.max"), &text).attempt_with(|| format!("writing {text} to cpu.max"))?;
    }
    write_limit(Some(dir), "memory.max", limits.memory)?;
    write_limit(Some(dir), "pids.max", limits.pids)
}

/// Shares 2..262144 to weight 1..10000, as the OCI runtimes convert.
fn cpu_weight(shares: i64) -> i64 {
    1 + ((shares.clamp(2, 262_144) - 2) * 9999) / 262_142
}

fn number(path: &Path) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A limit; the kernel's ways of saying "none" give nothing.
fn limit_of(path: &Path) -> Option<u64> {
    let value: u64 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    Some(value).filter(|value| *value < 1 << 62)
}

fn keyed(path: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let find = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(find).unwrap_or(0)
}

fn collect_processes(dir: &Path, found: &mut Vec<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&entry.path(), found);
        }
    }
}

fn kill_process(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // Gone already is as good.
        let _sent = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn wait_for_exit(pid: i32, time: Duration) {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return };
    let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
    let mut wait = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    let _ready = rustix::event::poll(&mut wait, Some(&timeout));
}

fn remove_groups(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).attempt_with(|| format!("removing cgroup {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_and_unified_hosts_are_told_apart() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
            31 24 0:27 / /sys/fs/cgroup/unified rw shared:2 - cgroup2 cgroup2 rw\n\
            32 24 0:27 / /var/lib/x rw - cgroup cgroup rw,pids\n";
        let found = Hierarchies::parse(hybrid);
        assert!(!found.unified());
        assert_eq!(found.v1_dir("cpuacct", "/a/b").unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct/a/b"));
        assert!(found.v1_dir("pids", "/a").is_none());
        let unified = Hierarchies::parse("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert!(unified.unified());
        assert_eq!(unified.v2_dir("/a").unwrap(), Path::new("/sys/fs/cgroup/a"));
    }

    #[test]
    fn shares_become_weights_as_in_other_runtimes() {
        assert_eq!([2, 1024, 262_144].map(cpu_weight), [1, 39, 10_000]);
    }
}
