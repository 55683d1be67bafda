//! Facts of the machine, read once or when asked. Parsing is separate from reading, so that it can be tested.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What the agent knows of its machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub cpus: i64,
    pub memory_bytes: i64,
    pub disk_bytes: i64,
    pub hostname: String,
    pub id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
}

/// What is left right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headroom {
    pub memory_bytes: i64,
    pub disk_percent: i64,
    pub inode_percent: i64,
    pub pids: i64,
}

impl Machine {
    /// Reads everything; what cannot be read stays empty, and the Node shows it so.
    pub(crate) fn read(state_dir: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let line = |path: &str| text(path).trim().to_owned();
        let uname = rustix::system::uname();
        let disk = rustix::fs::statvfs(state_dir).ok();
        Self {
            cpus: count_cpus(&text("/proc/cpuinfo")),
            memory_bytes: meminfo(&text("/proc/meminfo"), "MemTotal"),
            disk_bytes: disk
                .map_or(0, |d| i64::try_from(d.f_blocks.saturating_mul(d.f_frsize)).unwrap_or(i64::MAX)),
            hostname: uname.nodename().to_string_lossy().into_owned(),
            id: line("/etc/machine-id"),
            system_uuid: line("/sys/class/dmi/id/product_uuid"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel: uname.release().to_string_lossy().into_owned(),
            os_image: os_image(&text("/etc/os-release")),
        }
    }

    /// Reads what is left.
    pub(crate) fn headroom(state_dir: &Path) -> Headroom {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let disk = rustix::fs::statvfs(state_dir).ok();
        let percent =
            |free: u64, all: u64| i64::try_from(free.saturating_mul(100) / all.max(1)).unwrap_or(100);
        let number = |path: &str| text(path).trim().parse::<i64>().unwrap_or(i64::MAX);
        let threads = text("/proc/loadavg");
        let threads =
            threads.split_whitespace().nth(3).and_then(|f| f.split('/').nth(1)).and_then(|n| n.parse().ok());
        let pids_max = number("/proc/sys/kernel/pid_max").min(number("/proc/sys/kernel/threads-max"));
        Headroom {
            memory_bytes: meminfo(&text("/proc/meminfo"), "MemAvailable"),
            disk_percent: disk.as_ref().map_or(100, |d| percent(d.f_bavail, d.f_blocks)),
            inode_percent: disk
                .as_ref()
                .map_or(100, |d| if d.f_files == 0 { 100 } else { percent(d.f_favail, d.f_files) }),
            pids: pids_max.saturating_sub(threads.unwrap_or(0)),
        }
    }
}

fn count_cpus(cpuinfo: &str) -> i64 {
    let count = cpuinfo.lines().filter(|l| l.starts_with("processor")).count();
    i64::try_from(count.max(1)).unwrap_or(1)
}

fn meminfo(text: &str, name: &str) -> i64 {
    let line = text.lines().find(|l| l.split(':').next() == Some(name));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse::<i64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

fn os_image(os_release: &str) -> String {
    let pretty = os_release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    pretty.unwrap_or_default().trim_matches('"').to_owned()
}

/// `status.capacity`.
pub(crate) fn capacity(machine: &Machine, pods_max: u32) -> BTreeMap<String, Quantity> {
    resources(machine.cpus.saturating_mul(1000), machine.memory_bytes, machine.disk_bytes, pods_max)
}

/// `status.allocatable`: capacity without what is kept back. As upstream, a tenth of the disk is kept for images.
pub(crate) fn allocatable(
    machine: &Machine,
    pods_max: u32,
    reserved_cpu_milli: i64,
    reserved_memory: i64,
) -> BTreeMap<String, Quantity> {
    resources(
        machine.cpus.saturating_mul(1000).saturating_sub(reserved_cpu_milli).max(0),
        machine.memory_bytes.saturating_sub(reserved_memory).max(0),
        machine.disk_bytes / 10 * 9,
        pods_max,
    )
}

fn resources(cpu_milli: i64, memory: i64, disk: i64, pods: u32) -> BTreeMap<String, Quantity> {
    let cpu = if cpu_milli % 1000 == 0 { (cpu_milli / 1000).to_string() } else { format!("{cpu_milli}m") };
    [
        ("cpu", cpu),
        ("memory", format!("{}Ki", memory / 1024)),
        ("ephemeral-storage", format!("{}Ki", disk / 1024)),
        ("hugepages-1Gi", "0".to_owned()),
        ("hugepages-2Mi", "0".to_owned()),
        ("pods", pods.to_string()),
    ]
    .into_iter()
    .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_and_os_files_are_read() {
        assert_eq!(count_cpus("processor\t: 0\nmodel: x\nprocessor\t: 1\n"), 2);
        assert_eq!(meminfo("MemTotal:       2048 kB\nMemAvailable: 10 kB\n", "MemAvailable"), 10_240);
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
    }

    #[test]
    fn allocatable_keeps_something_back() {
        let machine = Machine { cpus: 2, memory_bytes: 1 << 30, disk_bytes: 1 << 30, ..Machine::default() };
        let left = allocatable(&machine, 110, 250, 1 << 20);
        assert_eq!(left["cpu"].0, "1750m");
        assert_eq!(left["memory"].0, "1047552Ki");
        assert_eq!(capacity(&machine, 110)["cpu"].0, "2");
    }
}
