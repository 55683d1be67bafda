//! What containers and sandboxes use.

use super::runtime::{Container, Phase, Runtime, Sandbox};
use super::status::labels_match;
use crate::cgroup::Usage;
use mainstay_proto_wire::cri::v1;
use std::sync::Arc;

impl Runtime {
    /// Usage of one container, zero when it does not run.
    pub(super) fn container_usage(&self, container: &Container) -> v1::ContainerStats {
        let now = self.now();
        let config = container.config.lock().clone();
        let usage = match container.phase() {
            Phase::Running { .. } => self.groups.usage(&container.record.cgroup),
            _ => Usage::default(),
        };
        let upper = self.paths.container(&container.record.id).join("upper");
        let mut layer = (0, 0);
        crate::images::add_usage(&upper, &mut layer);
        v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id: container.record.id.clone(),
                metadata: config.metadata,
                labels: config.labels,
                annotations: config.annotations,
            }),
            cpu: Some(cpu(&usage, now)),
            memory: Some(memory(&usage, now)),
            writable_layer: Some(v1::FilesystemUsage {
                timestamp: now,
                fs_id: Some(v1::FilesystemIdentifier {
                    mountpoint: self.paths.containers().display().to_string(),
                }),
                used_bytes: number(layer.0),
                inodes_used: number(layer.1),
            }),
            swap: None,
            io: None,
        }
    }

    /// Usage of the running containers that match. Blocking.
    pub(super) fn all_usage(&self, filter: Option<&v1::ContainerStatsFilter>) -> Vec<v1::ContainerStats> {
        let wanted = |container: &Arc<Container>| {
            matches!(container.phase(), Phase::Running { .. })
                && filter.is_none_or(|filter| {
                    (filter.id.is_empty() || filter.id == container.record.id)
                        && (filter.pod_sandbox_id.is_empty()
                            || filter.pod_sandbox_id == container.record.sandbox)
                        && labels_match(&filter.label_selector, &container.config.lock().labels)
                })
        };
        let found: Vec<_> = self.containers.lock().values().filter(|one| wanted(one)).cloned().collect();
        found.iter().map(|container| self.container_usage(container)).collect()
    }

    /// Usage of a sandbox. Blocking.
    pub(super) fn sandbox_usage(&self, sandbox: &Sandbox) -> v1::PodSandboxStats {
        let now = self.now();
        let id = sandbox.id();
        let group = self.pod_group(&sandbox.config, &id);
        let usage = self.groups.usage(&group);
        let filter =
            v1::ContainerStatsFilter { pod_sandbox_id: id.clone(), ..v1::ContainerStatsFilter::default() };
        let processes = self.groups.processes(&group).len() as u64;
        v1::PodSandboxStats {
            attributes: Some(v1::PodSandboxAttributes {
                id: id.clone(),
                metadata: sandbox.config.metadata.clone(),
                labels: sandbox.config.labels.clone(),
                annotations: sandbox.config.annotations.clone(),
            }),
            linux: Some(v1::LinuxPodSandboxStats {
                cpu: Some(cpu(&usage, now)),
                memory: Some(memory(&usage, now)),
                network: sandbox.record.lock().net.then(|| self.network_usage(&id, now)),
                process: Some(v1::ProcessUsage { timestamp: now, process_count: number(processes) }),
                containers: self.all_usage(Some(&filter)),
                io: None,
            }),
        }
    }

    /// Counted at the node's end of the link: what it sends, the pod receives.
    fn network_usage(&self, sandbox: &str, now: i64) -> v1::NetworkUsage {
        let dir = format!("/sys/class/net/{}/statistics", self.config.veth(sandbox));
        let read = |file: &str| {
            let text = std::fs::read_to_string(format!("{dir}/{file}")).ok();
            number(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
        };
        v1::NetworkUsage {
            timestamp: now,
            default_interface: Some(v1::NetworkInterfaceUsage {
                name: "eth0".to_owned(),
                rx_bytes: read("tx_bytes"),
                rx_errors: read("tx_errors"),
                tx_bytes: read("rx_bytes"),
                tx_errors: read("rx_errors"),
            }),
            interfaces: Vec::new(),
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "CRI wraps every number")]
fn number(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}

fn cpu(usage: &Usage, now: i64) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp: now,
        usage_core_nano_seconds: number(usage.cpu_nanoseconds),
        ..v1::CpuUsage::default()
    }
}

/// The working set is what cannot be dropped at once, as the kubelet counts.
fn memory(usage: &Usage, now: i64) -> v1::MemoryUsage {
    let working_set = usage.memory_bytes.saturating_sub(usage.inactive_file_bytes);
    v1::MemoryUsage {
        timestamp: now,
        working_set_bytes: number(working_set),
        available_bytes: usage
            .memory_limit_bytes
            .map(|limit| v1::UInt64Value { value: limit.saturating_sub(working_set) }),
        usage_bytes: number(usage.memory_bytes),
        rss_bytes: number(usage.rss_bytes),
        page_faults: number(usage.page_faults),
        major_page_faults: number(usage.major_page_faults),
        psi: None,
    }
}
