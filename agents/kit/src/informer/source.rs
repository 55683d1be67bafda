//! The list and watch loop that feeds one cache.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::api::{Api, WatchEvent};
use mainstay_base::lifecycle::{Backoff, Clock, Tasks};
use rand::Rng;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::cache::Cache;
use super::filter::Filter;
use super::reader::Reader;
use crate::ObjectKey;
use crate::step::answer;

/// Objects asked for in one page of a list.
const PAGE_LIMIT: u32 = 500;
/// How long a page may take.
const PAGE_DEADLINE: Duration = Duration::from_secs(60);
/// The shortest time a server is asked to keep a watch open; up to half as much again is added at random, so that
/// many watches do not end together. kube accepts less than 295 seconds.
const WATCH_SECONDS: u32 = 190;
/// How long past its own timeout a silent watch is trusted.
const WATCH_GRACE: Duration = Duration::from_secs(30);
const DELAY_FIRST: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(30);
/// What nobody answers costs no server anything, so it is tried again at least this often: a machine that was cut off is soon up to date.
const UNANSWERED_DELAY_MAX: Duration = Duration::from_secs(2);

/// What an informer can hold: any API object that decodes.
pub trait Informed: kube::Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static {}

impl<K: kube::Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static> Informed for K {}

/// Starts an informer of its own, outside of any registry; it ends with `tasks`.
pub fn start<K: Informed>(tasks: &Tasks, clock: Arc<dyn Clock>, api: Api<K>, filter: Filter) -> Reader<K> {
    let cache = Arc::new(Cache::new());
    let reader = Reader::new(Arc::clone(&cache));
    let kind = api.resource_url().to_owned();
    let source = Source {
        api,
        filter,
        cache,
        clock,
        kind: kind.clone(),
        backoff: Backoff::new(DELAY_FIRST, DELAY_MAX),
        unanswered: Backoff::new(DELAY_FIRST, UNANSWERED_DELAY_MAX),
    };
    let stop = tasks.token();
    tasks.spawn(format!("informer {kind}"), source.run(stop));
    reader
}

struct Source<K> {
    api: Api<K>,
    filter: Filter,
    cache: Arc<Cache<K>>,
    clock: Arc<dyn Clock>,
    kind: String,
    /// After an answer that is no use, and after a failure that nobody answered.
    backoff: Backoff,
    unanswered: Backoff,
}

/// Something went wrong.
struct Failure {
    why: String,
    /// Whether a server said so, or took its time.
    is_answered: bool,
}

impl Failure {
    fn of(error: &kube::Error) -> Self {
        Self { why: answer(error), is_answered: matches!(error, kube::Error::Api(_)) }
    }

    fn answered(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_answered: true }
    }
}

/// Why a watch ended.
enum Ended {
    /// The server closed it in order, or a timeout passed: go on from the last revision.
    Closed,
    /// The revision is no longer served (410): list again.
    Expired,
    /// It failed: go on from the last revision after a delay.
    Failed(Failure),
}

impl<K: Informed> Source<K> {
    async fn run(mut self, stop: CancellationToken) {
        // Cancellation may drop a list or a watch half-way: neither changes anything but the cache, which ends too.
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.feed() => {}
        }
    }

    async fn feed(&mut self) {
        loop {
            match self.list().await {
                Ok(revision) => {
                    self.went_well();
                    self.watch_on(revision).await;
                }
                Err(failure) => {
                    warn!(resource = %self.kind, error = failure.why, "listing failed");
                    self.wait_after(&failure).await;
                }
            }
        }
    }

    fn went_well(&mut self) {
        self.backoff.reset();
        self.unanswered.reset();
    }

    async fn wait_after(&mut self, failure: &Failure) {
        if failure.is_answered { self.backoff.wait().await } else { self.unanswered.wait().await }
    }

    /// Lists all pages and replaces the cache. Returns the resourceVersion to watch from.
    async fn list(&self) -> Result<String, Failure> {
        let mut params = self.filter.list_params(PAGE_LIMIT);
        let mut objects = Vec::new();
        loop {
            let page = tokio::time::timeout(PAGE_DEADLINE, self.api.list(&params))
                .await
                .map_err(|_elapsed| Failure::answered(format!("no answer within {PAGE_DEADLINE:?}")))?
                .map_err(|error| Failure::of(&error))?;
            objects.extend(page.items.into_iter().map(slim).map(Arc::new));
            if let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) {
                params.continue_token = Some(token);
                continue;
            }
            let version = page.metadata.resource_version.unwrap_or_default();
            self.cache.replace(objects, revision_of(&version));
            return Ok(version);
        }
    }

    /// Watches from `version`, resuming until the server no longer knows the revision.
    async fn watch_on(&mut self, mut version: String) {
        loop {
            let began = self.clock.now();
            match self.watch(&mut version).await {
                Ended::Expired => {
                    debug!(resource = %self.kind, version, "the watched revision expired: listing again");
                    return;
                }
                // A watch that ends at once again and again must not become a busy loop.
                Ended::Closed if self.clock.now().duration_since(began) > Duration::from_secs(1) => {
                    self.went_well();
                }
                Ended::Closed => self.backoff.wait().await,
                Ended::Failed(failure) => {
                    warn!(resource = %self.kind, error = failure.why, "watch failed: resuming");
                    self.wait_after(&failure).await;
                }
            }
        }
    }

    async fn watch(&self, version: &mut String) -> Ended {
        let seconds = WATCH_SECONDS + rand::rng().random_range(0..WATCH_SECONDS / 2);
        let deadline = Duration::from_secs(u64::from(seconds)) + WATCH_GRACE;
        let params = self.filter.watch_params(seconds);
        let opened = tokio::time::timeout(PAGE_DEADLINE, self.api.watch(&params, version)).await;
        let events = match opened {
            Ok(Ok(events)) => events,
            Ok(Err(error)) if is_expired(&error) => return Ended::Expired,
            Ok(Err(error)) => return Ended::Failed(Failure::of(&error)),
            Err(_elapsed) => {
                return Ended::Failed(Failure::answered(format!("no answer within {PAGE_DEADLINE:?}")));
            }
        };
        pin_mut!(events);
        loop {
            let event = match tokio::time::timeout(deadline, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) if is_expired(&error) => return Ended::Expired,
                Ok(Some(Err(error))) => return Ended::Failed(Failure::of(&error)),
                Ok(None) => return Ended::Closed,
                Err(_elapsed) => return Ended::Failed(Failure::answered("the watch went silent")),
            };
            if let Some(ended) = self.take(event, version) {
                return ended;
            }
        }
    }

    fn take(&self, event: WatchEvent<K>, version: &mut String) -> Option<Ended> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let object = slim(object);
                advance(version, object.meta().resource_version.as_deref());
                let key = ObjectKey::of(&object);
                self.cache.apply(key, Some(Arc::new(object)), revision_of(version));
            }
            WatchEvent::Deleted(object) => {
                advance(version, object.meta().resource_version.as_deref());
                self.cache.apply(ObjectKey::of(&object), None, revision_of(version));
            }
            WatchEvent::Bookmark(bookmark) => {
                advance(version, Some(&bookmark.metadata.resource_version));
                self.cache.bookmark(revision_of(version));
            }
            WatchEvent::Error(status) if status.code == 410 => return Some(Ended::Expired),
            WatchEvent::Error(status) => return Some(Ended::Failed(Failure::answered(status.to_string()))),
        }
        None
    }
}

fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410 || status.reason == "Expired")
}

fn advance(version: &mut String, seen: Option<&str>) {
    if let Some(seen) = seen.filter(|seen| !seen.is_empty()) {
        seen.clone_into(version);
    }
}

/// The resourceVersion as a number: Kubernetes has defined it to be one since 1.35. 0 when it is not.
fn revision_of(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// Drops what no agent reads and what is often larger than the rest of the metadata.
fn slim<K: kube::Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}
