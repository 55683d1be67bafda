//! Quality of service, resource sums and the cgroup values that follow from them. Formulas are upstream's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use mainstay_proto_wire::cri::v1;

use super::containers::{Role, init_role};
use super::quantity::{self, QuantityError};

/// `status.qosClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// As the API spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// CPU period of every quota, in microseconds.
const CPU_PERIOD: i64 = 100_000;
const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;

/// The pod's class: what the API server wrote, or computed as upstream does.
pub(crate) fn qos(pod: &Pod) -> Qos {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => return Qos::Guaranteed,
        Some("Burstable") => return Qos::Burstable,
        Some("BestEffort") => return Qos::BestEffort,
        _ => {}
    }
    let Some(spec) = &pod.spec else { return Qos::BestEffort };
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let (mut any, mut guaranteed) = (false, true);
    for container in all {
        for name in ["cpu", "memory"] {
            let request = amount(container, false, name);
            let limit = amount(container, true, name);
            any |= request > 0 || limit > 0;
            guaranteed &= limit > 0 && (request == limit || request == 0);
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

fn amount(container: &Container, limit: bool, name: &str) -> i64 {
    container.resources.as_ref().map_or(0, |r| read(list(r, limit), name).unwrap_or(0))
}

fn list(requirements: &ResourceRequirements, limit: bool) -> Option<&BTreeMap<String, Quantity>> {
    if limit { requirements.limits.as_ref() } else { requirements.requests.as_ref() }
}

/// CPU in thousandths, everything else in whole units; absent is zero.
fn read(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> Result<i64, QuantityError> {
    let Some(quantity) = list.and_then(|l| l.get(name)) else { return Ok(0) };
    if name == "cpu" { quantity::milli(quantity) } else { quantity::value(quantity) }
}

/// What a pod asks of the node: CPU in thousandths, the rest in whole units.
pub(crate) fn pod_requests(pod: &Pod) -> Result<BTreeMap<String, i64>, QuantityError> {
    pod_sum(pod, false)
}

/// What a pod may use at most; a resource one container leaves open is not in the map.
pub(crate) fn pod_limits(pod: &Pod) -> Result<BTreeMap<String, i64>, QuantityError> {
    let mut sum = pod_sum(pod, true)?;
    let Some(spec) = &pod.spec else { return Ok(sum) };
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
        sum.retain(|name, _| limits.is_some_and(|l| l.contains_key(name)));
    }
    Ok(sum)
}

/// Regular containers and sidecars add up; each init container runs beside the sidecars before it.
fn pod_sum(pod: &Pod, limit: bool) -> Result<BTreeMap<String, i64>, QuantityError> {
    let mut total = BTreeMap::new();
    let Some(spec) = &pod.spec else { return Ok(total) };
    for container in &spec.containers {
        add(&mut total, &amounts(container, limit)?);
    }
    let (mut sidecars, mut peak) = (BTreeMap::new(), BTreeMap::new());
    for container in spec.init_containers.iter().flatten() {
        let own = amounts(container, limit)?;
        let mut at_once = sidecars.clone();
        add(&mut at_once, &own);
        if init_role(container) == Role::Sidecar {
            add(&mut total, &own);
            sidecars.clone_from(&at_once);
        }
        raise(&mut peak, &at_once);
    }
    raise(&mut total, &peak);
    if let Some(pod_level) = &spec.resources {
        for name in list(pod_level, limit).into_iter().flat_map(BTreeMap::keys) {
            total.insert(name.clone(), read(list(pod_level, limit), name)?);
        }
    }
    for name in spec.overhead.iter().flat_map(BTreeMap::keys) {
        if !limit || total.contains_key(name) {
            *total.entry(name.clone()).or_default() += read(spec.overhead.as_ref(), name)?;
        }
    }
    Ok(total)
}

fn amounts(container: &Container, limit: bool) -> Result<BTreeMap<String, i64>, QuantityError> {
    let Some(requirements) = &container.resources else { return Ok(BTreeMap::new()) };
    let list = list(requirements, limit);
    list.into_iter().flat_map(BTreeMap::keys).map(|name| Ok((name.clone(), read(list, name)?))).collect()
}

fn add(into: &mut BTreeMap<String, i64>, more: &BTreeMap<String, i64>) {
    for (name, amount) in more {
        let slot = into.entry(name.clone()).or_default();
        *slot = slot.saturating_add(*amount);
    }
}

fn raise(into: &mut BTreeMap<String, i64>, to: &BTreeMap<String, i64>) {
    for (name, amount) in to {
        let slot = into.entry(name.clone()).or_default();
        *slot = (*slot).max(*amount);
    }
}

/// The cgroup values of one container.
pub(crate) fn container_resources(
    pod: &Pod,
    container: &Container,
    memory_capacity: i64,
) -> Result<v1::LinuxContainerResources, QuantityError> {
    let none = ResourceRequirements::default();
    let requirements = container.resources.as_ref().unwrap_or(&none);
    let (limits, requests) = (requirements.limits.as_ref(), requirements.requests.as_ref());
    let cpu_limit = read(limits, "cpu")?;
    let has_request = requests.is_some_and(|r| r.contains_key("cpu"));
    let cpu_request = if has_request { read(requests, "cpu")? } else { cpu_limit };
    Ok(v1::LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: quota(cpu_limit),
        cpu_shares: shares(cpu_request),
        memory_limit_in_bytes: read(limits, "memory")?,
        oom_score_adj: oom_score_adj(qos(pod), pod, read(requests, "memory")?, memory_capacity),
        ..Default::default()
    })
}

/// The cgroup values of the whole pod, zero where nothing bounds it.
pub(crate) fn pod_resources(pod: &Pod) -> Result<v1::LinuxContainerResources, QuantityError> {
    let (requests, limits) = (pod_requests(pod)?, pod_limits(pod)?);
    let of = |map: &BTreeMap<String, i64>, name: &str| map.get(name).copied().unwrap_or(0);
    Ok(v1::LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: quota(of(&limits, "cpu")),
        cpu_shares: shares(of(&requests, "cpu")),
        memory_limit_in_bytes: of(&limits, "memory"),
        ..Default::default()
    })
}

fn shares(milli: i64) -> i64 {
    if milli == 0 { SHARES_MIN } else { (milli.saturating_mul(1024) / 1000).clamp(SHARES_MIN, SHARES_MAX) }
}

/// At least one millisecond a period; zero means unlimited.
fn quota(milli: i64) -> i64 {
    if milli == 0 { 0 } else { (milli.saturating_mul(CPU_PERIOD) / 1000).max(1000) }
}

fn oom_score_adj(qos: Qos, pod: &Pod, memory_request: i64, capacity: i64) -> i64 {
    /// `system-node-critical`: such pods are kept like guaranteed ones.
    const NODE_CRITICAL: i32 = 2_000_001_000;
    if pod.spec.as_ref().and_then(|s| s.priority).is_some_and(|p| p >= NODE_CRITICAL) {
        return -997;
    }
    match qos {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let capacity = capacity.max(1);
            let share = i128::from(memory_request) * 1000 / i128::from(capacity);
            let adjust = 1000 - i64::try_from(share).unwrap_or(1000);
            adjust.clamp(3, 999)
        }
    }
}

/// The pod's cgroup below the agent's root, nested by class as upstream's cgroupfs driver does.
pub(crate) fn cgroup_parent(root: &str, qos: Qos, uid: &str) -> String {
    match qos {
        Qos::Guaranteed => format!("{root}/pod{uid}"),
        Qos::Burstable => format!("{root}/burstable/pod{uid}"),
        Qos::BestEffort => format!("{root}/besteffort/pod{uid}"),
    }
}
