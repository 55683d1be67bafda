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
use mainstay_agents_kit::leader::{Election, Timings};
use mainstay_base::lifecycle::{SystemClock, Tasks};
use parking_lot::Mutex;
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
}

impl Stage {
    fn new() -> Self {
        Self { base: Instant::now(), acting: Arc::default(), began: Arc::default() }
    }

    fn stand(&self, api: &FakeApi, name: &'static str) -> Candidate {
        let cut = Arc::new(AtomicBool::new(false));
        let client = kube::Client::new(Line { api: api.clone(), cut: Arc::clone(&cut) }, "default");
        let tasks = Tasks::new(name, CancellationToken::new());
        let election = Election {
            name: "kube-scheduler",
            identity: name.to_owned(),
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
        Candidate { tasks, cut }
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

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_its_successor_begins_within_three_seconds() {
    let (api, stage) = (FakeApi::default(), Stage::new());
    let first = stage.stand(&api, "first");
    stage.acts("first").await;
    let second = stage.stand(&api, "second");
    tokio::time::sleep(Duration::from_secs(20)).await;
    stage.acts("first").await; // it renews
    first.cut.store(true, Ordering::SeqCst);
    let cut_at = Instant::now();
    let took = stage.acts("second").await - cut_at;
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(took >= Duration::from_millis(1400), "it waited for the lease: {took:?}");
    first.cut.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(*stage.acting.lock(), ["second"], "the first does not take it back");
    first.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
    second.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_in_order_is_followed_at_once_and_errors_are_ridden_out() {
    let (api, stage) = (FakeApi::default(), Stage::new());
    let first = stage.stand(&api, "first");
    stage.acts("first").await;
    let second = stage.stand(&api, "second");
    api.fail([500, 500, 503]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(*stage.acting.lock(), ["first"]);
    assert_eq!(stage.began.lock().len(), 1, "a few errors end no term");
    let stopped_at = Instant::now();
    first.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
    let took = stage.acts("second").await - stopped_at;
    assert!(took < Duration::from_millis(300), "{took:?}");
    second.tasks.close_and_join(Duration::from_secs(5)).await.unwrap();
}
