//! Load while something goes wrong: a writer and a watcher for each server, on a machine of their own. They move to another server
//! as clients do, remember everything, and in the end it is judged: nothing acknowledged is lost, nothing is told twice or never.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams};

use crate::clients::Clients;
use crate::machine::Machine;

/// A write waits no longer before the next server is asked.
const WRITE_MAX: Duration = Duration::from_millis(400);
/// The time between two writes: every one is an object that is compared later.
const PACE: Duration = Duration::from_millis(10);
/// A watch that is silent for so long is opened anew, at another server.
const SILENCE: Duration = Duration::from_millis(1500);
const OPEN_MAX: Duration = Duration::from_secs(2);
/// How long everything may take to come to rest.
const END_MAX: Duration = Duration::from_secs(60);

/// What a watcher was told of one object: its name and revision.
type Told = (String, u64);

/// What was seen.
struct Seen {
    /// Names that were acknowledged, and when.
    acknowledged: Vec<(String, Instant)>,
    /// By each watcher, in order.
    told: Vec<Vec<Told>>,
    /// What each server has in the end.
    kept: Vec<BTreeSet<String>>,
}

/// What came of it.
pub(crate) struct Figures {
    /// When each write was acknowledged.
    at: Vec<Instant>,
}

impl Figures {
    /// How many writes were acknowledged.
    pub(crate) fn writes(&self) -> usize {
        self.at.len()
    }

    /// The longest time without an acknowledged write that ended after `moment`.
    pub(crate) fn pause_after(&self, moment: Instant) -> Duration {
        let pauses = self.at.iter().zip(&self.at[1..]).filter(|(_, after)| **after > moment);
        pauses.map(|(before, after)| *after - *before).max().expect("writes went on")
    }
}

/// Runs in a thread of its own.
pub(crate) struct Load {
    name: String,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Load {
    /// Starts on `from`, against `servers`; what is written is labelled with `name`.
    pub(crate) fn start(name: &str, from: &Machine, servers: &[Machine]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, clients) = (Arc::clone(&stop), Clients::new(from, servers));
        let label = name.to_owned();
        let thread =
            std::thread::spawn(move || clients.run(async |servers| run(&label, servers, &stopped).await));
        Self { name: name.to_owned(), stop, thread }
    }

    /// Ends it and judges.
    #[track_caller]
    pub(crate) fn end(self) -> Figures {
        self.stop.store(true, Ordering::SeqCst);
        let seen = self.thread.join().unwrap();
        let name = self.name;
        let acknowledged: BTreeSet<&String> = seen.acknowledged.iter().map(|(name, _)| name).collect();
        assert!(!acknowledged.is_empty(), "{name}: nothing was written");
        for (at, kept) in seen.kept.iter().enumerate() {
            let lost: Vec<_> = acknowledged.iter().filter(|one| !kept.contains(**one)).collect();
            assert!(lost.is_empty(), "{name}: acknowledged, and not at server {at}: {lost:?}");
            assert_eq!(kept, &seen.kept[0], "{name}: all servers have the same");
        }
        for (at, told) in seen.told.iter().enumerate() {
            let in_order = told.iter().zip(&told[1..]).all(|(before, after)| before.1 < after.1);
            assert!(in_order, "{name}: watcher {at} was told something twice, or out of order: {told:?}");
            let names: BTreeSet<&String> = told.iter().map(|(name, _)| name).collect();
            let missed: Vec<_> = seen.kept[0].iter().filter(|one| !names.contains(one)).collect();
            assert!(missed.is_empty(), "{name}: watcher {at} was never told of {missed:?}");
            assert_eq!(names.len(), told.len(), "{name}: watcher {at} was told something twice");
        }
        Figures { at: seen.acknowledged.into_iter().map(|(_, at)| at).collect() }
    }
}

async fn run(label: &str, servers: Vec<kube::Client>, stop: &AtomicBool) -> Seen {
    let apis: Vec<Api<ConfigMap>> = servers.into_iter().map(Api::default_namespaced).collect();
    let selector = format!("drill={label}");
    let nothing = apis[0].list(&ListParams::default().labels(&selector)).await.unwrap();
    let begin = nothing.metadata.resource_version.unwrap();
    // The name that every watcher waits for in the end.
    let last: RefCell<Option<String>> = RefCell::new(None);
    let writer = async {
        let acknowledged = write(label, &apis, stop).await;
        last.replace(Some(acknowledged.last().expect("something was written").0.clone()));
        acknowledged
    };
    let watchers = (0..apis.len()).map(|first| watch(&apis, first, &selector, begin.clone(), &last));
    let watchers = async {
        let ended = tokio::time::timeout(Duration::from_secs(300), futures::future::join_all(watchers)).await;
        ended.expect("watchers come to the end")
    };
    let (acknowledged, told) = futures::future::join(writer, watchers).await;
    let mut kept = Vec::new();
    for api in &apis {
        let asked = async {
            loop {
                if let Ok(list) = api.list(&ListParams::default().labels(&selector)).await {
                    return list.items.into_iter().filter_map(|map| map.metadata.name).collect();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        kept.push(tokio::time::timeout(END_MAX, asked).await.expect("every server answers in the end"));
    }
    Seen { acknowledged, told, kept }
}

async fn write(label: &str, apis: &[Api<ConfigMap>], stop: &AtomicBool) -> Vec<(String, Instant)> {
    let mut acknowledged = Vec::new();
    let (mut number, mut server) = (0, 0);
    let labels = [("drill".to_owned(), label.to_owned())];
    while !stop.load(Ordering::SeqCst) || acknowledged.is_empty() {
        let name = format!("{label}-{number}");
        number += 1;
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels.clone().into()),
            ..ObjectMeta::default()
        };
        let map = ConfigMap { metadata, ..ConfigMap::default() };
        let params = PostParams::default();
        if let Ok(Ok(_)) = tokio::time::timeout(WRITE_MAX, apis[server].create(&params, &map)).await {
            acknowledged.push((name, Instant::now()));
        } else {
            server = (server + 1) % apis.len();
        }
        tokio::time::sleep(PACE).await;
    }
    acknowledged
}

/// Follows what is written, at one server after the other, each time from where it was.
async fn watch(
    apis: &[Api<ConfigMap>],
    first: usize,
    selector: &str,
    mut version: String,
    last: &RefCell<Option<String>>,
) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let is_over = |told: &[Told]| {
        let last = last.borrow();
        last.as_ref().is_some_and(|last| told.iter().any(|(name, _)| name == last))
    };
    let mut at = first;
    while !is_over(&told) {
        let params = WatchParams::default().labels(selector);
        let opened = tokio::time::timeout(OPEN_MAX, apis[at].watch(&params, &version)).await;
        at = (at + 1) % apis.len();
        let events = match opened {
            Ok(Ok(events)) => events,
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => {
                panic!("it must not list again: {status}")
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let mut events = std::pin::pin!(events);
        while let Ok(Some(Ok(event))) = tokio::time::timeout(SILENCE, events.next()).await {
            match event {
                WatchEvent::Added(map) => {
                    version = map.metadata.resource_version.unwrap();
                    told.push((map.metadata.name.unwrap(), version.parse().unwrap()));
                }
                // A server sends one a minute to whoever asks for them, as kube does.
                WatchEvent::Bookmark(seen) => version = seen.metadata.resource_version,
                WatchEvent::Error(status) if status.code == 410 => panic!("it must not list again: {status}"),
                WatchEvent::Error(_) => break,
                other => panic!("nobody changed or deleted anything: {other:?}"),
            }
            if is_over(&told) {
                break;
            }
        }
    }
    told
}
