//! Informers against the server in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "this is test code")]

mod fake_api;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use fake_api::FakeApi;
use futures::future::BoxFuture;
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Change, Informers, Reader};
use mainstay_base::lifecycle::{SystemClock, Tasks};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

const MAPS: &str = "configmaps";

fn informers(api: &FakeApi) -> Informers {
    let tasks = Tasks::new("test", CancellationToken::new());
    Informers::new(api.client(), tasks, Arc::new(SystemClock))
}

async fn eventually(reader: &Reader<ConfigMap>, holds: impl Fn(&Reader<ConfigMap>) -> bool) {
    let mut changed = reader.changed();
    let wait = async {
        while !holds(reader) {
            changed.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(600), wait).await.expect("the cache never got there");
}

#[tokio::test(start_paused = true)]
async fn it_lists_all_pages_then_follows_the_watch() {
    let api = FakeApi::default();
    for number in 0..1203 {
        api.put(MAPS, "default", &format!("m{number}"), json!({}));
    }
    let reader = informers(&api).reader::<ConfigMap>();
    reader.synced().await;
    assert_eq!(reader.list().len(), 1203);
    assert_eq!(api.requests().iter().filter(|request| request.contains("limit=500")).count(), 3);
    api.put(MAPS, "other", "new", json!({"data": {"a": "1"}}));
    api.delete(MAPS, "default", "m0");
    eventually(&reader, |reader| reader.get_named("default", "m0").is_none()).await;
    assert_eq!(reader.list_in("other").len(), 1);
    assert_eq!(reader.snapshot().len(), 1203);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_resumed_where_it_stopped() {
    let api = FakeApi::default();
    api.put(MAPS, "default", "a", json!({}));
    let reader = informers(&api).reader::<ConfigMap>();
    reader.synced().await;
    api.put(MAPS, "default", "b", json!({}));
    eventually(&reader, |reader| reader.get_named("default", "b").is_some()).await;
    api.drop_watches();
    api.put(MAPS, "default", "c", json!({}));
    eventually(&reader, |reader| reader.get_named("default", "c").is_some()).await;
    let requests = api.requests();
    assert_eq!(requests.iter().filter(|request| !request.contains("watch=true")).count(), 1, "{requests:?}");
    assert!(requests.last().unwrap().contains("resourceVersion=2"), "{requests:?}");
}

/// The way to the server, which may be cut: then nobody answers.
#[derive(Clone)]
struct Way {
    api: FakeApi,
    is_cut: Arc<AtomicBool>,
}

impl Service<Request<Body>> for Way {
    type Response = <FakeApi as Service<Request<Body>>>::Response;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut api, is_cut) = (self.api.clone(), self.is_cut.load(Ordering::SeqCst));
        Box::pin(async move {
            if is_cut {
                return Err(io::ErrorKind::HostUnreachable.into());
            }
            api.call(request).await.map_err(io::Error::other)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_while_nobody_could_be_reached_is_soon_seen() {
    let (api, is_cut) = (FakeApi::default(), Arc::new(AtomicBool::new(false)));
    let client = kube::Client::new(Way { api: api.clone(), is_cut: Arc::clone(&is_cut) }, "default");
    let tasks = Tasks::new("test", CancellationToken::new());
    let reader = Informers::new(client, tasks, Arc::new(SystemClock)).reader::<ConfigMap>();
    reader.synced().await;
    is_cut.store(true, Ordering::SeqCst);
    api.drop_watches();
    api.put(MAPS, "default", "meanwhile", json!({}));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(reader.list().is_empty());
    is_cut.store(false, Ordering::SeqCst);
    let healed = Instant::now();
    eventually(&reader, |reader| !reader.list().is_empty()).await;
    assert!(healed.elapsed() <= Duration::from_secs(2), "{:?}", healed.elapsed());
    assert_eq!(api.requests().iter().filter(|request| !request.contains("watch=true")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_expired_revision_is_answered_by_a_new_list_that_shows_what_went() {
    let api = FakeApi::default();
    api.put(MAPS, "default", "stays", json!({}));
    api.put(MAPS, "default", "goes", json!({}));
    let reader = informers(&api).reader::<ConfigMap>();
    reader.synced().await;
    let mut changes = reader.subscribe();
    assert!(matches!(changes.next().await, Some(Change::Resync)));
    api.hold(MAPS);
    api.delete(MAPS, "default", "goes");
    api.expire();
    api.release();
    eventually(&reader, |reader| reader.list().len() == 1).await;
    let Some(Change::Object { key, old, new }) = changes.next().await else { panic!("no change") };
    assert_eq!(key, ObjectKey::new("default", "goes"));
    assert!(old.is_some() && new.is_none());
}

#[tokio::test(start_paused = true)]
async fn indexes_follow_changes() {
    let api = FakeApi::default();
    api.put(MAPS, "default", "a", json!({"metadata": {"labels": {"tier": "front"}}}));
    let reader = informers(&api).reader::<ConfigMap>();
    reader.synced().await;
    reader.add_index("tier", |map: &ConfigMap| {
        map.metadata.labels.as_ref().and_then(|labels| labels.get("tier")).cloned().into_iter().collect()
    });
    assert_eq!(reader.by_index("tier", "front").len(), 1);
    api.put(MAPS, "default", "a", json!({"metadata": {"labels": {"tier": "back"}}}));
    eventually(&reader, |reader| !reader.by_index("tier", "back").is_empty()).await;
    assert!(reader.by_index("tier", "front").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_counts_as_seen() {
    let api = FakeApi::default();
    let reader = informers(&api).reader::<ConfigMap>();
    reader.synced().await;
    api.put(MAPS, "default", "a", json!({}));
    eventually(&reader, |reader| reader.list().len() == 1).await;
    let revision = api.bookmark(MAPS);
    tokio::time::timeout(Duration::from_secs(600), reader.observed(revision)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_is_told_to_look_at_everything() {
    let api = FakeApi::default();
    let reader = informers(&api).reader::<ConfigMap>();
    reader.synced().await;
    let mut changes = reader.subscribe();
    assert!(matches!(changes.next().await, Some(Change::Resync)));
    for number in 0..3000 {
        api.put(MAPS, "default", &format!("m{number}"), json!({}));
    }
    eventually(&reader, |reader| reader.list().len() == 3000).await;
    assert!(matches!(changes.next().await, Some(Change::Resync)));
}

#[tokio::test(start_paused = true)]
async fn one_informer_serves_all_readers_of_a_kind() {
    let api = FakeApi::default();
    let informers = informers(&api);
    let (first, second) = (informers.reader::<ConfigMap>(), informers.reader::<ConfigMap>());
    first.synced().await;
    second.synced().await;
    api.put(MAPS, "default", "a", json!({}));
    eventually(&second, |reader| reader.list().len() == 1).await;
    assert_eq!(api.watches(MAPS), 1);
}
