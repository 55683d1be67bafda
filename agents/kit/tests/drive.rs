//! The control loop against the server in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "this is test code")]

mod fake_api;

use std::sync::Arc;
use std::time::Duration;

use fake_api::FakeApi;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::events::{EventType, Occurrence, Recorder};
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Drive, Next, ObserveError, Reconciler, Watch, drive};
use mainstay_agents_kit::step::{ActError, Actor, Step};
use mainstay_base::lifecycle::{SystemClock, Tasks};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const MAPS: &str = "configmaps";
const SECRETS: &str = "secrets";

/// Makes as many secrets as `data.count` of a config map says, under new names each time.
struct Counter {
    maps: Reader<ConfigMap>,
    secrets: Reader<Secret>,
    names: Mutex<u32>,
}

struct World {
    map: Arc<ConfigMap>,
    present: usize,
    first_name: u32,
}

impl Reconciler for Counter {
    type World = World;

    fn name(&self) -> &'static str {
        "counter"
    }

    fn watches(&self) -> Vec<Watch> {
        let owner = |secret: &Secret| {
            let owner = secret.metadata.labels.as_ref().and_then(|labels| labels.get("owner")).cloned();
            owner.map(|name| ObjectKey::new("default", name)).into_iter().collect()
        };
        vec![Watch::of(&self.maps), Watch::map(&self.secrets, owner)]
    }

    async fn observe(&self, key: &ObjectKey, _now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(map) = self.maps.get(key) else { return Ok(None) };
        let owned = |secret: &Arc<Secret>| {
            secret.metadata.labels.as_ref().and_then(|labels| labels.get("owner")) == Some(&key.name)
        };
        let present = self.secrets.list().iter().filter(|secret| owned(secret)).count();
        let mut names = self.names.lock();
        *names += 100;
        Ok(Some(World { map, present, first_name: *names }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        let name = world.map.metadata.name.clone().unwrap();
        assert!(name != "bad", "on purpose");
        let wanted: usize = world.map.data.as_ref().unwrap()["count"].parse().unwrap();
        let create = (world.present..wanted).zip(world.first_name..).map(|(_, number)| {
            Step::create(&Secret {
                metadata: ObjectMeta {
                    name: Some(format!("{name}-{number}")),
                    namespace: Some("default".to_owned()),
                    labels: Some([("owner".to_owned(), name.clone())].into()),
                    ..ObjectMeta::default()
                },
                ..Secret::default()
            })
        });
        let create: Vec<Step> = create.collect();
        (if create.is_empty() { Vec::new() } else { vec![Step::Batch(create)] }, Next::Done)
    }

    fn failed(&self, world: &World, error: &ActError) -> Vec<Step> {
        vec![Step::event(world.map.as_ref(), EventType::Warning, "Failed", error.answer())]
    }
}

struct Setting {
    api: FakeApi,
    secrets: Reader<Secret>,
    tasks: Tasks,
    events: mpsc::Receiver<Occurrence>,
}

fn setting(api: FakeApi) -> Setting {
    let tasks = Tasks::new("test", CancellationToken::new());
    let informers = Informers::new(api.client(), tasks.clone(), Arc::new(SystemClock));
    let (recorder, events) = Recorder::channel(64);
    let counter = Counter { maps: informers.reader(), secrets: informers.reader(), names: Mutex::new(0) };
    let secrets = counter.secrets.clone();
    drive(counter, Drive::new(Actor::new(api.client(), recorder), Arc::new(SystemClock)), &tasks);
    Setting { api, secrets, tasks, events }
}

async fn secrets(setting: &Setting, wanted: usize) {
    let mut changed = setting.secrets.changed();
    let wait = async {
        while setting.secrets.list().len() != wanted {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(600), wait).await.expect("never as many secrets");
}

#[tokio::test(start_paused = true)]
async fn a_stale_cache_never_leads_to_too_many_children() {
    let setting = setting(FakeApi::default());
    setting.secrets.synced().await;
    setting.api.put(MAPS, "default", "a", json!({"data": {"count": "3"}}));
    secrets(&setting, 3).await;
    // The cache of secrets stands still while the map changes again and again.
    setting.api.hold(SECRETS);
    for round in 0..5 {
        let data = json!({"data": {"count": "5", "round": round.to_string()}});
        setting.api.put(MAPS, "default", "a", data);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(setting.api.names(SECRETS).len(), 5, "made again from a stale cache");
    setting.api.release();
    secrets(&setting, 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_panicking_key_is_released_and_the_others_go_on() {
    let setting = setting(FakeApi::default());
    setting.secrets.synced().await;
    setting.api.put(MAPS, "default", "bad", json!({"data": {"count": "1"}}));
    setting.api.put(MAPS, "default", "good", json!({"data": {"count": "1"}}));
    secrets(&setting, 1).await;
    setting.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_recorded_and_tried_again() {
    let mut setting = setting(FakeApi::default());
    setting.secrets.synced().await;
    // The first call of the batch fails: no other is made until the next run.
    setting.api.fail([500, 500]);
    setting.api.put(MAPS, "default", "a", json!({"data": {"count": "8"}}));
    secrets(&setting, 8).await;
    let event = setting.events.recv().await.unwrap();
    assert_eq!((event.reason.as_str(), event.message.as_str()), ("Failed", "Injected"));
    let posts = setting.api.requests().iter().filter(|request| request.starts_with("POST")).count();
    assert_eq!(posts, 10);
}
