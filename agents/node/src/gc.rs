//! What nobody needs any more: logs, pod directories, and the stand-in object for pods whose own is gone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::core::ObjectMeta;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::agent::Agent;
use crate::desired::Desired;
use crate::runtime_state::PodRuntime;
use crate::volumes::unmount_all;

/// How often leftover directories are looked for; they only appear after a crash.
const PERIOD: Duration = Duration::from_secs(300);

/// An object good enough to end the containers of a pod whose own object is gone.
pub(crate) fn stand_in(uid: &str, records: &PodRuntime) -> Pod {
    let names: BTreeSet<&str> = records.containers.iter().map(|c| c.name.as_str()).collect();
    Pod {
        metadata: ObjectMeta {
            name: Some(records.name.clone()),
            namespace: Some(records.namespace.clone()),
            uid: Some(uid.to_owned()),
            // As upstream: nobody is left who could ask for more time.
            deletion_grace_period_seconds: Some(1),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: names
                .into_iter()
                .map(|name| Container { name: name.to_owned(), ..Container::default() })
                .collect(),
            ..PodSpec::default()
        }),
        status: None,
    }
}

/// Removes one log file and what rotation made of it.
pub(crate) async fn remove_log(log: &Path) {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|n| n.to_str())) else { return };
    let Ok(mut entries) = tokio::fs::read_dir(dir).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        if entry.file_name().to_string_lossy().starts_with(name)
            && let Err(error) = tokio::fs::remove_file(entry.path()).await
        {
            warn!(path = %entry.path().display(), %error, "removing a log failed");
        }
    }
}

/// Removes directories of pods that are neither wanted nor in the runtime, now and then until stopped.
pub(crate) async fn run(
    agent: Arc<Agent>,
    desired: watch::Receiver<Option<Desired>>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(PERIOD);
    let mut desired = desired;
    tokio::select! {
        biased;
        () = stop.cancelled() => return,
        known = desired.wait_for(Option::is_some) => if known.is_err() { return },
    }
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // What is there is listed before what is wanted is read: a directory made after that is left alone.
        let found = (names(agent.dirs.pods()), names(agent.dirs.logs()));
        let mut kept: BTreeSet<String> = agent.observer.uids().into_keys().collect();
        kept.extend(desired.borrow().iter().flat_map(|pods| pods.keys().cloned()));
        let owned = Arc::clone(&agent);
        // Removing files blocks; nothing else waits for it.
        if let Err(error) = tokio::task::spawn_blocking(move || sweep(&owned, found, &kept)).await {
            warn!(%error, "looking for leftover directories failed");
        }
    }
}

fn sweep(agent: &Agent, (pods, logs): (Vec<String>, Vec<String>), kept: &BTreeSet<String>) {
    for uid in pods {
        if !kept.contains(&uid)
            && let Err(error) = unmount_all(&agent.dirs, &uid)
        {
            warn!(pod = uid, error = error.sentence(), "removing a leftover directory failed");
        }
    }
    for name in logs {
        let uid = name.rsplit('_').next().unwrap_or_default();
        if !kept.contains(uid) {
            let dir = agent.dirs.logs().join(&name);
            if let Err(error) = std::fs::remove_dir_all(&dir) {
                warn!(path = %dir.display(), %error, "removing leftover logs failed");
            }
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}
