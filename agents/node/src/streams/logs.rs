//! `/containerLogs/{namespace}/{pod}/{container}`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use mainstay_base::lifecycle::Tasks;
use tokio::sync::{mpsc, watch};

use super::log_line::LogStream;
use super::log_reader;
use super::log_render::LogOptions;
use super::query::Query;
use super::respond::{self, Body};
use crate::agent::Agent;
use crate::runtime_state::{ContainerRecord, PodRuntime};
use crate::spec::containers;

/// Chunks on their way to one client.
const CHUNKS_MAX: usize = 16;

/// Reads the options of a log request.
pub(super) fn options(query: &Query, now: Timestamp) -> Result<LogOptions, String> {
    let positive = |name: &str| -> Result<Option<u64>, String> {
        query
            .number(name)?
            .map(|n| {
                u64::try_from(n).map_err(|_unreadable| format!("{name} must be greater than or equal to 0"))
            })
            .transpose()
    };
    let since = match (positive("sinceSeconds")?, query.get("sinceTime").filter(|t| !t.is_empty())) {
        (Some(_), Some(_)) => {
            return Err("at most one of sinceTime or sinceSeconds may be specified".to_owned());
        }
        (Some(seconds), None) => {
            Some(now.checked_sub(Duration::from_secs(seconds)).unwrap_or(Timestamp::MIN))
        }
        (None, Some(text)) => {
            Some(text.parse().map_err(|_unreadable| format!("sinceTime {text:?} is not an RFC 3339 time"))?)
        }
        (None, None) => None,
    };
    let stream = match query.get("stream") {
        None | Some("" | "All") => None,
        Some("Stdout") => Some(LogStream::Stdout),
        Some("Stderr") => Some(LogStream::Stderr),
        Some(other) => return Err(format!("invalid stream {other:?}: must be one of All, Stdout, Stderr")),
    };
    Ok(LogOptions {
        follow: query.flag(&["follow"]),
        previous: query.flag(&["previous"]),
        timestamps: query.flag(&["timestamps"]),
        tail_lines: positive("tailLines")?,
        since,
        limit_bytes: positive("limitBytes")?,
        stream,
    })
}

/// The run of the container whose log is asked for, or why there is none.
fn choose<'a>(
    pod: &Pod,
    records: &'a PodRuntime,
    container: &'a str,
    previous: bool,
) -> Result<&'a ContainerRecord, String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if containers::find(pod, container).is_none() {
        return Err(format!("container \"{container}\" not found in pod \"{name}\""));
    }
    let mut runs = records.named(container);
    let newest = runs.next();
    if previous {
        return runs.find(|r| r.exited()).ok_or_else(|| {
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found")
        });
    }
    newest.ok_or_else(|| {
        let status = pod.status.as_ref();
        let all = status.into_iter().flat_map(|s| {
            s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten())
        });
        let state = all.filter(|s| s.name == container).find_map(|s| s.state.as_ref()?.waiting.as_ref());
        match state {
            Some(waiting) => {
                let reason = waiting.reason.as_deref().unwrap_or_default();
                match waiting
                    .message
                    .as_deref()
                    .filter(|_| matches!(reason, "ErrImagePull" | "ImagePullBackOff"))
                {
                    None => {
                        format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}")
                    }
                    Some(_) => format!(
                        "container \"{container}\" in pod \"{name}\" is waiting to start: {}",
                        if reason == "ErrImagePull" {
                            "image can't be pulled"
                        } else {
                            "trying and failing to pull image"
                        }
                    ),
                }
            }
            None => format!("container \"{container}\" in pod \"{name}\" is not available"),
        }
    })
}

/// Answers a log request.
pub(super) fn serve(
    agent: &Arc<Agent>,
    tasks: &Tasks,
    pod: &Pod,
    container: &str,
    query: &Query,
) -> Response<Body> {
    let options = match options(query, agent.now()) {
        Ok(options) => options,
        Err(error) => return respond::text(StatusCode::BAD_REQUEST, error),
    };
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let records = agent.observer.watch(&uid);
    let chosen = choose(pod, &records.borrow(), container, options.previous).cloned();
    let record = match chosen {
        Ok(record) => record,
        Err(error) => return respond::text(StatusCode::BAD_REQUEST, error),
    };
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let (alive, running) = watch::channel(!record.exited());
    let path = PathBuf::from(&record.log_path);
    let (stop, name) = (tasks.token(), container.to_owned());
    tasks.spawn(format!("log of {container}"), async move {
        let reading = log_reader::read(path, options, running, sender.clone());
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            done = reading => if let Err(error) = done {
                tracing::warn!(container = name, %error, "reading a log failed");
                let text = format!("failed to read the log: {error}\n");
                // The client may be gone already.
                sender.send(text.into()).await.ok();
            },
            () = follow(records, record.id, alive) => {}
        }
    });
    respond::stream(receiver)
}

/// Tells when the container has ended; never returns by itself.
async fn follow(mut records: watch::Receiver<Arc<PodRuntime>>, id: String, alive: watch::Sender<bool>) {
    loop {
        let runs = records.borrow_and_update().containers.iter().any(|c| c.id == id && !c.exited());
        alive.send_if_modified(|old| std::mem::replace(old, runs) != runs);
        if records.changed().await.is_err() {
            alive.send_replace(false);
            std::future::pending::<()>().await;
        }
    }
}
