//! Many callers that each send one request after the other.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use http::Method;

use crate::harness::{Client, Connection};

/// What a load came to.
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Who sends one request after the other.
pub(crate) trait Caller: Send + 'static {
    /// The `at`th request, to the end of its answer.
    fn call(&mut self, at: usize) -> impl Future<Output = ()> + Send;
}

/// Has each of `callers` call for `time`.
pub(crate) async fn drive<C: Caller>(callers: Vec<C>, time: Duration) -> Outcome {
    let started = Instant::now();
    let tasks = callers.into_iter().map(|mut caller| {
        tokio::spawn(async move {
            let mut delays = Vec::new();
            while started.elapsed() < time {
                let began = Instant::now();
                caller.call(delays.len()).await;
                delays.push(began.elapsed());
            }
            delays
        })
    });
    let delays = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    Outcome::of(delays, started.elapsed())
}

struct Requests<F> {
    connection: Connection,
    number: usize,
    request: F,
}

impl<F: Fn(usize, usize) -> (Method, String, Bytes) + Send + Sync + 'static> Caller for Requests<F> {
    async fn call(&mut self, at: usize) {
        let (method, path, body) = (self.request)(self.number, at);
        self.connection.call(method, &path, body).await;
    }
}

/// Runs `connections` for `time`; `request` makes the `n`th request of a connection: method, path, body.
pub(crate) async fn run(
    client: &Client,
    connections: usize,
    time: Duration,
    request: impl Fn(usize, usize) -> (Method, String, Bytes) + Clone + Send + Sync + 'static,
) -> Outcome {
    let opened = join_all((0..connections).map(|_| client.connect())).await;
    let callers = opened.into_iter().enumerate();
    let callers =
        callers.map(|(number, connection)| Requests { connection, number, request: request.clone() });
    drive(callers.collect(), time).await
}

impl Outcome {
    pub(crate) fn of(mut delays: Vec<Duration>, took: Duration) -> Self {
        delays.sort();
        let at = |part: usize| delays[(delays.len() * part / 100).min(delays.len() - 1)];
        Self { per_second: delays.len() as f64 / took.as_secs_f64(), p50: at(50), p99: at(99) }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}/s, p50 {:.2?}, p99 {:.2?}", self.per_second, self.p50, self.p99)
    }
}
