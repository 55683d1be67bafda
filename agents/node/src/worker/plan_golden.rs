//! Goldens of the decision: each case is a pod, what the runtime and the agent know of it, and below `=>` the plan and
//! the status that follow. `UPDATE_GOLDEN=1` rewrites them; they are read in review.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;

use super::backoff::Delay;
use super::plan::plan;
use super::view::{ContainerMemory, Failure, Op, PodMemory, PodView, Retry, VolumesState};
use crate::probes::ProbeKind;
use crate::runtime_state::{ContainerRecord, Life, PodRuntime, SandboxRecord};
use crate::spec::containers;
use crate::status::pod_status;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/plan.txt");

fn at(text: &str) -> Timestamp {
    Timestamp::from_second(text.parse().unwrap()).unwrap()
}

struct Case {
    pod: Pod,
    runtime: PodRuntime,
    memory: PodMemory,
    now: Timestamp,
}

fn case(input: &str) -> Case {
    let (facts, pod): (Vec<&str>, Vec<&str>) = input.lines().partition(|l| l.starts_with("* "));
    let mut pod: serde_json::Value = serde_yaml_ng::from_str(&pod.join("\n")).unwrap();
    let meta = pod.as_object_mut().unwrap().entry("metadata").or_insert_with(|| serde_json::json!({}));
    for (key, value) in [("name", "web"), ("namespace", "ns"), ("uid", "u1")] {
        meta.as_object_mut().unwrap().entry(key).or_insert_with(|| value.into());
    }
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let mut case = Case {
        runtime: PodRuntime { name: "web".into(), namespace: "ns".into(), ..PodRuntime::default() },
        memory: PodMemory {
            first_seen: Some(at("1")),
            volumes: VolumesState::Mounted,
            host_ips: vec!["192.168.0.1".into()],
            ..PodMemory::default()
        },
        now: at("100"),
        pod,
    };
    for fact in facts {
        let words: Vec<&str> = fact[2..].split_whitespace().collect();
        take(&mut case, &words);
    }
    case.runtime.sort();
    case
}

fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|w| w.strip_prefix(key)?.strip_prefix('='))
}

fn own<'a>(case: &'a mut Case, name: &str) -> &'a mut ContainerMemory {
    case.memory.containers.entry(name.to_owned()).or_default()
}

fn take(case: &mut Case, words: &[&str]) {
    let retry = |words: &[&str]| Retry {
        failure: Failure { reason: words[0].to_owned(), message: "why".to_owned() },
        at: at(value(words, "retry").unwrap()),
        attempts: 0,
    };
    match words {
        ["now", second] => case.now = at(second),
        ["gone"] => case.memory.gone = true,
        ["deleted"] => case.memory.deleted = true,
        ["final-status-written"] => case.memory.final_status_written = true,
        ["ending-since", second] => case.memory.ending_since = Some(at(second)),
        ["rejected", reason] => {
            case.memory.rejected =
                Some(Failure { reason: (*reason).to_owned(), message: "no room".to_owned() });
        }
        ["volumes", "pending"] => case.memory.volumes = VolumesState::Pending,
        ["volumes", "removed"] => case.memory.volumes = VolumesState::Removed,
        ["volumes", "failed", rest @ ..] => {
            let words = [&["FailedMount"], rest].concat();
            case.memory.volumes = VolumesState::Failed(retry(&words));
        }
        ["sandbox", id, rest @ ..] => case.runtime.sandboxes.push(SandboxRecord {
            id: (*id).to_owned(),
            attempt: value(rest, "attempt").map_or(0, |a| a.parse().unwrap()),
            created_at: at("10"),
            ready: rest.contains(&"ready"),
            ips: value(rest, "ip").map(str::to_owned).into_iter().collect(),
        }),
        ["container", name, id, rest @ ..] => container(case, name, id, rest),
        ["in-flight", "start"] => drop(case.memory.in_flight.insert(Op::Start)),
        ["in-flight", "sandbox"] => drop(case.memory.in_flight.insert(Op::Sandbox)),
        ["in-flight", "volumes"] => drop(case.memory.in_flight.insert(Op::Volumes)),
        ["in-flight", "kill", id, grace] => {
            case.memory.in_flight.insert(Op::Kill((*id).to_owned()));
            case.memory.kill_grace.insert((*id).to_owned(), grace.parse().unwrap());
        }
        ["failure", name, rest @ ..] => own(case, name).failure = Some(retry(rest)),
        ["crash-delay", name, seconds] => {
            let delay = std::time::Duration::from_secs(seconds.parse().unwrap());
            own(case, name).crash = Some(Delay { delay, updated: at("20") });
        }
        ["hook-done", name, id] => own(case, name).hook_done = Some((*id).to_owned()),
        ["probe", name, id, kind, verdict] => {
            let kind = match *kind {
                "startup" => ProbeKind::Startup,
                "readiness" => ProbeKind::Readiness,
                _ => ProbeKind::Liveness,
            };
            case.memory.take_probe(name, id, kind, *verdict == "ok");
        }
        other => panic!("unknown fact {other:?}"),
    }
}

fn container(case: &mut Case, name: &str, id: &str, rest: &[&str]) {
    let hash = containers::find(&case.pod, name).map(|d| containers::hash(&d.container)).unwrap_or_default();
    let exited = value(rest, "exited");
    case.runtime.containers.push(ContainerRecord {
        id: id.to_owned(),
        sandbox_id: value(rest, "sandbox").unwrap_or("s0").to_owned(),
        name: name.to_owned(),
        restart_count: value(rest, "restarts").map_or(0, |r| r.parse().unwrap()),
        life: match exited {
            Some(_) => Life::Exited,
            None if rest.contains(&"created") => Life::Created,
            None => Life::Running,
        },
        created_at: at("20"),
        started_at: at(value(rest, "started").unwrap_or("20")),
        finished_at: at(value(rest, "finished").unwrap_or("90")),
        exit_code: exited.map_or(0, |e| e.parse().unwrap()),
        reason: value(rest, "reason").unwrap_or_default().to_owned(),
        message: String::new(),
        image: String::new(),
        image_id: "sha256:1".to_owned(),
        hash: if rest.contains(&"outdated") { "old".to_owned() } else { hash },
        log_path: String::new(),
        user: None,
    });
}

fn state(state: Option<&ContainerState>) -> String {
    let Some(state) = state else { return "-".to_owned() };
    if let Some(waiting) = &state.waiting {
        let message = waiting.message.as_deref().map(|m| format!(" {m:?}")).unwrap_or_default();
        return format!("waiting {}{message}", waiting.reason.as_deref().unwrap_or_default());
    }
    if let Some(terminated) = &state.terminated {
        return format!(
            "terminated {} {}",
            terminated.exit_code,
            terminated.reason.as_deref().unwrap_or_default()
        );
    }
    if state.running.is_some() { "running".to_owned() } else { "-".to_owned() }
}

fn line(status: &ContainerStatus) -> String {
    let mut flags = String::new();
    if status.ready {
        flags.push_str(" ready");
    }
    if status.started == Some(true) {
        flags.push_str(" started");
    }
    let last = state(status.last_state.as_ref());
    let last = if last == "-" { String::new() } else { format!(" last=({last})") };
    format!(
        "{}: {}{flags} restarts={}{last}",
        status.name,
        state(status.state.as_ref()),
        status.restart_count
    )
}

fn show(case: &Case) -> String {
    let view = PodView { pod: &case.pod, runtime: &case.runtime, memory: &case.memory, now: case.now };
    let mut out = String::new();
    for step in plan(&view) {
        writeln!(out, "{step}").unwrap();
    }
    let status = pod_status(&view);
    let reason = status.reason.as_deref().map(|r| format!(" {r}")).unwrap_or_default();
    writeln!(out, "phase {}{reason}", status.phase.as_deref().unwrap_or_default()).unwrap();
    let all =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    for own in all.chain(status.ephemeral_container_statuses.iter().flatten()) {
        writeln!(out, "  {}", line(own)).unwrap();
    }
    let conditions: Vec<String> = status
        .conditions
        .iter()
        .flatten()
        .map(|c| match &c.reason {
            Some(reason) => format!("{}={}({reason})", c.type_, c.status),
            None => format!("{}={}", c.type_, c.status),
        })
        .collect();
    writeln!(out, "  {}", conditions.join(" ")).unwrap();
    out
}

#[test]
fn plans_and_statuses_match_the_goldens() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let (mut want, mut seen) = (String::new(), String::new());
    for part in text.split("\n### ").skip(1) {
        let (title, rest) = part.split_once('\n').unwrap();
        let (input, expected) = rest.split_once("=>\n").unwrap_or((rest, ""));
        write!(want, "\n### {title}\n{input}=>\n{}\n", expected.trim_end()).unwrap();
        write!(seen, "\n### {title}\n{input}=>\n{}\n", show(&case(input)).trim_end()).unwrap();
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let head = text.split("\n### ").next().unwrap();
        std::fs::write(FILE, format!("{head}{seen}")).unwrap();
        return;
    }
    assert_eq!(want, seen, "run with UPDATE_GOLDEN=1 and read the difference");
}
