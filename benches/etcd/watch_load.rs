//! Watchers of one prefix: how long after a put was sent its event is there.
use std::time::{Duration, Instant};

use bytes::Bytes;
use mainstay_proto_wire::etcd::etcdserverpb::kv_client::KvClient;
use mainstay_proto_wire::etcd::etcdserverpb::watch_request::RequestUnion;
use mainstay_proto_wire::etcd::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::histogram::Histogram;
use super::load::{Load, Measured};
use super::stamps;

const WRITERS: usize = 64;
const PACE: Duration = Duration::from_millis(20);
/// Watchers have so long to catch up after the last put.
const CATCH_UP: Duration = Duration::from_secs(60);

/// How many watch what over how many streams.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) watchers: usize,
    pub(crate) streams: usize,
}

/// The watchers, running.
struct Watchers {
    tasks: Vec<JoinHandle<Histogram>>,
    /// How many events each watcher has to see, once that is known.
    goal: watch::Sender<Option<u64>>,
}

impl Load {
    /// One writer that waits between puts.
    pub(crate) async fn paced_watch(self, shape: Shape, attempt: usize, round: Duration) -> Measured {
        let epoch = Instant::now();
        let prefix = format!("paced/{}/{attempt}/", shape.watchers);
        let watchers = self.watch(shape, prefix.clone(), epoch).await;
        let mut kv = KvClient::new(self.channels(1).await[0].clone());
        let start = Instant::now();
        let mut puts = 0;
        while start.elapsed() < round {
            kv.put(stamped(&prefix, puts, epoch)).await.unwrap();
            puts += 1;
            tokio::time::sleep(PACE).await;
        }
        watchers.finish(puts, start.elapsed()).await
    }

    /// Writers that put as fast as they can.
    pub(crate) async fn unpaced_watch(self, shape: Shape, attempt: usize, round: Duration) -> Measured {
        let epoch = Instant::now();
        let prefix = format!("unpaced/{}/{attempt}/", shape.watchers);
        let watchers = self.watch(shape, prefix.clone(), epoch).await;
        let channels = self.channels(WRITERS).await;
        let start = Instant::now();
        let writing: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut kv = KvClient::new(channels[writer % channels.len()].clone());
                let prefix = prefix.clone();
                tokio::spawn(async move {
                    let mut puts = 0;
                    while start.elapsed() < round {
                        kv.put(stamped(&prefix, writer as u64 * 1000 + puts % 100, epoch)).await.unwrap();
                        puts += 1;
                    }
                    puts
                })
            })
            .collect();
        let mut puts = 0;
        for writer in writing {
            puts += writer.await.unwrap();
        }
        watchers.finish(puts, start.elapsed()).await
    }

    async fn watch(&self, shape: Shape, prefix: String, epoch: Instant) -> Watchers {
        let (goal, known) = watch::channel(None);
        let channels = self.channels(shape.streams * 4).await;
        let mut tasks = Vec::new();
        for stream in 0..shape.streams {
            let (requests, queue) = mpsc::channel(shape.watchers / shape.streams + 1);
            for _ in 0..shape.watchers / shape.streams {
                requests.send(create(&prefix)).await.unwrap();
            }
            let outgoing = futures::stream::unfold((queue, requests), |(mut queue, keep)| async move {
                queue.recv().await.map(|request| (request, (queue, keep)))
            });
            let mut incoming = stamps::watch(channels[stream % channels.len()].clone(), outgoing).await;
            let each = shape.watchers / shape.streams;
            for _ in 0..each {
                assert!(incoming.message().await.unwrap().unwrap().created);
            }
            let mut known = known.clone();
            tasks.push(tokio::spawn(async move {
                let mut latency = Histogram::default();
                loop {
                    let goal = known.borrow_and_update().map(|goal| goal * each as u64);
                    if goal.is_some_and(|goal| latency.total() >= goal) {
                        return latency;
                    }
                    tokio::select! {
                        biased;
                        message = incoming.message() => {
                            let now = epoch.elapsed();
                            for sent in message.unwrap().unwrap().sent {
                                latency.add(now.saturating_sub(Duration::from_nanos(sent)));
                            }
                        }
                        changed = known.changed(), if goal.is_none() => changed.unwrap(),
                    }
                }
            }));
        }
        Watchers { tasks, goal }
    }
}

impl Watchers {
    async fn finish(self, puts: u64, writing: Duration) -> Measured {
        self.goal.send(Some(puts)).unwrap();
        let mut measured = Measured { ops: puts, took: writing, ..Measured::default() };
        let drained = Instant::now();
        for task in self.tasks {
            let latency = tokio::time::timeout(CATCH_UP, task).await.expect("watchers catch up").unwrap();
            measured.latency.merge(&latency);
        }
        let all = writing + drained.elapsed();
        let events = measured.latency.total();
        measured.note = format!("{:.0} events/s", events as f64 / all.as_secs_f64());
        measured
    }
}

fn create(prefix: &str) -> WatchRequest {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    let request = WatchCreateRequest {
        key: prefix.as_bytes().to_vec().into(),
        range_end: end.into(),
        ..WatchCreateRequest::default()
    };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) }
}

/// A put that carries the time it was sent at.
fn stamped(prefix: &str, number: u64, epoch: Instant) -> PutRequest {
    let mut value = vec![b'v'; 256];
    value[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_le_bytes());
    PutRequest { key: format!("{prefix}{number}").into(), value: Bytes::from(value), ..PutRequest::default() }
}
