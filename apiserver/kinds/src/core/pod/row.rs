//! The table of pods: what a pod is doing, in one word.

use crate::table;
use mainstay_apiserver_machinery::kind::Column;
use mainstay_apiserver_machinery::pipeline::parse_timestamp;
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

pub(super) const COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::new("Ready", "Ready containers of all."),
    Column::new("Status", "What the pod is doing."),
    Column::new("Restarts", "How often containers were restarted, and when last."),
    Column::new("Age", "Time since the object was created."),
    Column::new("IP", "First address of the pod.").wide(),
    Column::new("Node", "Node that the pod runs on.").wide(),
    Column::new("Nominated Node", "Node where room is made for the pod.").wide(),
    Column::new("Readiness Gates", "Conditions that hold of those that the pod waits for.").wide(),
];

/// What the container statuses add up to.
#[derive(Default)]
struct Tally {
    ready: usize,
    restarts: i64,
    last_restart: Option<OffsetDateTime>,
}

impl Tally {
    fn add_restarts(&mut self, status: &Value) {
        self.restarts = self.restarts.saturating_add(status.path_i64(&["restartCount"]).unwrap_or_default());
        let ended = status.path_str(&["lastState", "terminated", "finishedAt"]).and_then(parse_timestamp);
        self.last_restart = self.last_restart.max(ended);
    }
}

pub(super) fn row(pod: &Value, now: OffsetDateTime) -> Vec<Value> {
    let sidecars =
        pod.path_list(&["spec", "initContainers"]).iter().filter(|container| is_sidecar(container)).count();
    let total = pod.path_list(&["spec", "containers"]).len() + sidecars;
    let (tally, reason) = summarize(pod);
    let restarts = match tally.last_restart {
        Some(time) if tally.restarts != 0 => {
            format!("{} ({} ago)", tally.restarts, table::human_duration(now - time))
        }
        _ => tally.restarts.to_string(),
    };
    let ip =
        pod.path_list(&["status", "podIPs"]).first().and_then(|ip| ip.path_str(&["ip"])).unwrap_or_default();
    vec![
        table::name(pod),
        format!("{}/{total}", tally.ready).into(),
        reason.into(),
        restarts.into(),
        table::age(pod, now),
        if ip.is_empty() { "<none>".into() } else { ip.into() },
        table::text_or(pod, &["spec", "nodeName"], "<none>"),
        table::text_or(pod, &["status", "nominatedNodeName"], "<none>"),
        readiness_gates(pod).into(),
    ]
}

fn is_sidecar(container: &Value) -> bool {
    container.path_str(&["restartPolicy"]) == Some("Always")
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod.path_list(&["status", "conditions"])
        .iter()
        .find(|condition| condition.path_str(&["type"]) == Some(kind))
}

fn summarize(pod: &Value) -> (Tally, String) {
    let text = |path: &[&str]| pod.path_str(path).unwrap_or_default();
    let phase = text(&["status", "phase"]);
    let mut reason = match text(&["status", "reason"]) {
        "" => phase.to_owned(),
        stated => stated.to_owned(),
    };
    let scheduled = condition(pod, "PodScheduled");
    if scheduled.and_then(|condition| condition.path_str(&["reason"])) == Some("SchedulingGated") {
        reason = String::from("SchedulingGated");
    }
    let mut all = Tally::default();
    let mut sidecars = Tally::default();
    let initializing = initializing(pod, &mut all, &mut sidecars);
    let initialized = condition(pod, "Initialized").and_then(|c| c.path_str(&["status"])) == Some("True");
    let is_initializing = initializing.is_some();
    if let Some(stage) = initializing {
        reason = stage;
    }
    let ready = all.ready;
    let tally = if !is_initializing || initialized {
        let mut tally = Tally { ready, ..sidecars };
        running(pod, &mut tally, &mut reason);
        tally
    } else {
        all
    };
    let deleting = !text(&["metadata", "deletionTimestamp"]).is_empty();
    if deleting && text(&["status", "reason"]) == "NodeLost" {
        reason = String::from("Unknown");
    } else if deleting && !matches!(phase, "Failed" | "Succeeded") {
        reason = String::from("Terminating");
    }
    (tally, reason)
}

/// What the init containers are doing; absent when all are done or, as sidecars, started.
fn initializing(pod: &Value, all: &mut Tally, sidecars: &mut Tally) -> Option<String> {
    let specs = pod.path_list(&["spec", "initContainers"]);
    for (i, status) in pod.path_list(&["status", "initContainerStatuses"]).iter().enumerate() {
        let name = status.path_str(&["name"]);
        let sidecar = specs.iter().any(|spec| spec.path_str(&["name"]) == name && is_sidecar(spec));
        all.add_restarts(status);
        if sidecar {
            sidecars.add_restarts(status);
        }
        let ended = status.path(&["state", "terminated"]).filter(|state| !state.is_null());
        if ended.is_some_and(|ended| ended.path_i64(&["exitCode"]).unwrap_or_default() == 0) {
            continue;
        }
        if sidecar && status.path_bool(&["started"]) == Some(true) {
            if status.path_bool(&["ready"]) == Some(true) {
                all.ready += 1;
            }
            continue;
        }
        if let Some(ended) = ended {
            return Some(format!("Init:{}", end_reason(ended)));
        }
        return Some(match status.path_str(&["state", "waiting", "reason"]) {
            Some(waiting) if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            _ => format!("Init:{i}/{}", specs.len()),
        });
    }
    None
}

fn end_reason(terminated: &Value) -> String {
    match terminated.path_str(&["reason"]).unwrap_or_default() {
        "" => match terminated.path_i64(&["signal"]).unwrap_or_default() {
            0 => format!("ExitCode:{}", terminated.path_i64(&["exitCode"]).unwrap_or_default()),
            signal => format!("Signal:{signal}"),
        },
        reason => reason.to_owned(),
    }
}

fn running(pod: &Value, tally: &mut Tally, reason: &mut String) {
    let mut has_running = false;
    for status in pod.path_list(&["status", "containerStatuses"]).iter().rev() {
        tally.add_restarts(status);
        let waiting = status.path_str(&["state", "waiting", "reason"]).unwrap_or_default();
        let ended = status.path(&["state", "terminated"]).filter(|state| !state.is_null());
        if !waiting.is_empty() {
            waiting.clone_into(reason);
        } else if let Some(ended) = ended {
            *reason = end_reason(ended);
        } else if status.path_bool(&["ready"]) == Some(true) && status.path(&["state", "running"]).is_some() {
            has_running = true;
            tally.ready += 1;
        }
    }
    // Some containers completed, others run on.
    if reason == "Completed" && has_running {
        let ready = condition(pod, "Ready").and_then(|condition| condition.path_str(&["status"]));
        *reason = String::from(if ready == Some("True") { "Running" } else { "NotReady" });
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod.path_list(&["spec", "readinessGates"]);
    if gates.is_empty() {
        return String::from("<none>");
    }
    let holds = |gate: &&Value| {
        let kind = gate.path_str(&["conditionType"]).unwrap_or_default();
        condition(pod, kind).and_then(|condition| condition.path_str(&["status"])) == Some("True")
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len())
}
