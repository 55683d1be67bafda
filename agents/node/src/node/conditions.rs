//! The Node's conditions. Pure.

use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::time::time;

use super::machine::Headroom;

/// Below this the node is short of memory (upstream's hard eviction threshold).
const MEMORY_MIN: i64 = 100 << 20;
const DISK_PERCENT_MIN: i64 = 10;
const INODE_PERCENT_MIN: i64 = 5;
const PIDS_MIN: i64 = 100;

/// Whether the runtime can start pods; the text says why not.
pub(crate) type Readiness = Result<(), String>;

/// The four conditions; `before` keeps the times of what did not change.
pub(super) fn conditions(
    readiness: &Readiness,
    headroom: Headroom,
    before: &[NodeCondition],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let memory = headroom.memory_bytes < MEMORY_MIN;
    let disk = headroom.disk_percent < DISK_PERCENT_MIN || headroom.inode_percent < INODE_PERCENT_MIN;
    let pids = headroom.pids < PIDS_MIN;
    let ready = match readiness {
        Ok(()) => ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        Err(why) => ("Ready", false, "KubeletNotReady", why.clone()),
    };
    let all = [
        pressure(
            "MemoryPressure",
            memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ];
    all.into_iter().map(|verdict| stamp(verdict, before, now)).collect()
}

type Verdict = (&'static str, bool, &'static str, String);

fn pressure(
    kind: &'static str,
    holds: bool,
    yes: (&'static str, &'static str),
    no: (&'static str, &'static str),
) -> Verdict {
    let (reason, message) = if holds { yes } else { no };
    (kind, holds, reason, message.to_owned())
}

fn stamp((kind, holds, reason, message): Verdict, before: &[NodeCondition], now: Timestamp) -> NodeCondition {
    let status = if holds { "True" } else { "False" };
    let old = before.iter().find(|c| c.type_ == kind && c.status == status);
    NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_heartbeat_time: Some(time(now)),
        last_transition_time: old.and_then(|c| c.last_transition_time.clone()).or_else(|| Some(time(now))),
    }
}

/// The event that a change of a condition is worth.
pub(super) fn transition(kind: &str, holds: bool) -> Option<&'static str> {
    Some(match (kind, holds) {
        ("Ready", true) => "NodeReady",
        ("Ready", false) => "NodeNotReady",
        ("MemoryPressure", true) => "NodeHasInsufficientMemory",
        ("MemoryPressure", false) => "NodeHasSufficientMemory",
        ("DiskPressure", true) => "NodeHasDiskPressure",
        ("DiskPressure", false) => "NodeHasNoDiskPressure",
        ("PIDPressure", true) => "NodeHasInsufficientPID",
        ("PIDPressure", false) => "NodeHasSufficientPID",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_times_survive_heartbeats() {
        let room = Headroom { memory_bytes: 1 << 30, disk_percent: 50, inode_percent: 50, pids: 1000 };
        let (t1, t2) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(2).unwrap());
        let first = conditions(&Ok(()), room, &[], t1);
        let again = conditions(&Ok(()), room, &first, t2);
        assert!(again.iter().all(|c| c.last_transition_time.as_ref().unwrap().0 == t1));
        assert!(again.iter().all(|c| c.last_heartbeat_time.as_ref().unwrap().0 == t2));
        let low = Headroom { disk_percent: 9, ..room };
        let changed = conditions(&Err("container runtime is down".into()), low, &again, t2);
        let of = |kind: &str| changed.iter().find(|c| c.type_ == kind).unwrap();
        assert_eq!((of("DiskPressure").status.as_str(), of("Ready").status.as_str()), ("True", "False"));
        assert_eq!(of("Ready").last_transition_time.as_ref().unwrap().0, t2);
        assert_eq!(of("MemoryPressure").last_transition_time.as_ref().unwrap().0, t1);
    }
}
