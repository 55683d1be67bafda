//! Many connections that each send one request after the other.

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

/// Runs `connections` for `time`; `request` makes the `n`th request of a connection: method, path, body.
pub(crate) async fn run(
    client: &Client,
    connections: usize,
    time: Duration,
    request: impl Fn(usize, usize) -> (Method, String, Bytes) + Clone + Send + 'static,
) -> Outcome {
    let opened: Vec<Connection> = join_all((0..connections).map(|_| client.connect())).await;
    let started = Instant::now();
    let tasks = opened.into_iter().enumerate().map(|(number, mut connection)| {
        let request = request.clone();
        tokio::spawn(async move {
            let mut delays = Vec::new();
            let mut sent = 0;
            while started.elapsed() < time {
                let (method, path, body) = request(number, sent);
                let began = Instant::now();
                connection.call(method, &path, body).await;
                delays.push(began.elapsed());
                sent += 1;
            }
            delays
        })
    });
    let delays = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    Outcome::of(delays, started.elapsed())
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
