//! Leader election against the server in memory, in paused time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "this is test code")]

mod fake_api;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fake_api::FakeApi;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use kube::client::Body;
use mainstay_agents_kit::leader::{Election, Timings, identity};
use mainstay_base::lifecycle::{SystemClock, Tasks};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

/// A way to the server that can be cut: requests then get no answer.
#[derive(Clone)]
struct Line {
    api: FakeApi,
    cut: Arc<AtomicBool>,
}

impl Service<Request<Body>> for Line {
    type Response = Response<BoxBody<Bytes, Infallible>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.cut.load(Ordering::SeqCst) {
            return std::future::pending().boxed();
        }
        self.api.call(request).boxed()
    }
}

/// Who acts, and when each began and ended.
#[derive(Clone)]
struct Stage {
    base: Instant,
    acting: Arc<Mutex<Vec<&'static str>>>,
    began: Arc<Mutex<Vec<(&'static str, Instant)>>>,
}

struct Candidate {
    tasks: Tasks,
    cut: Arc<AtomicBool>,
    mandate: watch::Sender<bool>,
}

impl Stage {
    fn new() -> Self {
        Self { base: Instant::now(), acting: Arc::default(), began: Arc::default() }
    }

    fn stand(&self, api: &FakeApi, name: &'static str) -> Candidate {
        let cut = Arc::new(AtomicBool::new(false));
        let client = kube::Client::new(Line { api: api.clone(), cut: Arc::clone(&cut) }, "default");
        let tasks = Tasks::new(name, CancellationToken::new());
        let (mandate, given) = watch::channel(false);
        let election = Election {
            name: "kube-scheduler",
            identity: identity(name),
            mandate: given,
            client,
            timings: Timings::default(),
            base: self.base,
            clock: Arc::new(SystemClock),
        };
        let stage = self.clone();
        let started = move |term: &Tasks| {
            let (stage, stop) = (stage.clone(), term.token());
            term.spawn("acts", async move {
                stage.began.lock().push((name, Instant::now()));
                {
                    let mut acting = stage.acting.lock();
                    acting.push(name);
                    assert_eq!(acting.len(), 1, "two act at once: {acting:?}");
                }
                stop.cancelled().await;
                stage.acting.lock().retain(|who| *who != name);
            });
        };
        election.run(&tasks, Arc::new(started));
        Candidate { tasks, cut, mandate }
    }

    async fn acts(&self, name: &str) -> Instant {
        let began = Instant::now();
        while self.acting.lock().as_slice() != [name] {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{name} does not act: {:?}",
                self.acting.lock()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Instant::now()
    }
}

/// The holder of the Lease, without what differs in each process.
fn holder(api: &FakeApi) -> String {
    let lease = api.object("leases", "kube-system", "kube-scheduler").unwrap();
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap();
    holder.split('_').next().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_its_successor_begins_within_three_seconds() {
    let (api, stage) = (FakeApi::default(), Stage::new());
    let first = stage.stand(&api, "first");
    let second = stage.stand(&api, "second");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(stage.acting.lock().is_empty(), "nobody acts without a mandate");
    first.mandate.send_replace(true);
    stage.acts("first").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    stage.acts("first").await; // it renews
    first.cut.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(750)).await;
    let cut_at = Instant::now();
    second.mandate.send_replace(true);
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage.acts("first").await;
    first.mandate.send_replace(false);
    let took = stage.acts("second").await - cut_at;
    assert!(took < Duration::from_millis(1300), "{took:?}");
    assert!(took >= Duration::from_millis(1000), "it gave the first time to stop: {took:?}");
    first.cut.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(*stage.acting.lock(), ["second"], "the first does not take it back");
    assert_eq!(holder(&api), "second");
    first.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
    second.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_gives_its_mandate_up_or_stops_in_order_is_followed_at_once() {
    let (api, stage) = (FakeApi::default(), Stage::new());
    let first = stage.stand(&api, "first");
    first.mandate.send_replace(true);
    stage.acts("first").await;
    let second = stage.stand(&api, "second");
    let changed_at = Instant::now();
    first.mandate.send_replace(false);
    second.mandate.send_replace(true);
    let took = stage.acts("second").await - changed_at;
    assert!(took < Duration::from_millis(300), "{took:?}");
    second.mandate.send_replace(false);
    first.mandate.send_replace(true);
    stage.acts("first").await;
    let stopped_at = Instant::now();
    first.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
    second.mandate.send_replace(true);
    let took = stage.acts("second").await - stopped_at;
    assert!(took < Duration::from_millis(300), "{took:?}");
    assert_eq!(holder(&api), "second");
    second.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn errors_are_ridden_out_and_the_lease_of_a_stranger_is_respected() {
    let (api, stage) = (FakeApi::default(), Stage::new());
    let first = stage.stand(&api, "first");
    first.mandate.send_replace(true);
    stage.acts("first").await;
    api.fail([500, 500, 503]);
    tokio::time::sleep(Duration::from_secs(20)).await;
    stage.acts("first").await;
    assert_eq!(stage.began.lock().len(), 1, "a few errors end no term");
    api.delete("leases", "kube-system", "kube-scheduler").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(holder(&api), "first", "a lease that somebody deletes is made again");
    assert_eq!(stage.began.lock().len(), 1, "and ends no term");
    let mut taken = api.object("leases", "kube-system", "kube-scheduler").unwrap();
    taken["spec"]["holderIdentity"] = "stranger_0b9d".into();
    api.put("leases", "kube-system", "kube-scheduler", taken);
    let taken_at = Instant::now();
    while !stage.acting.lock().is_empty() {
        assert!(taken_at.elapsed() < Duration::from_millis(500), "it goes on beside a stranger");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(holder(&api), "stranger", "and does not give up what is not its own");
    let took = stage.acts("first").await - taken_at;
    assert!(took >= Duration::from_secs(15), "a stranger's lease lasts as long as it says: {took:?}");
    first.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
}
