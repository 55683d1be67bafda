//! Watchers of one prefix: how long after a put was sent its event is there.
use std::time::{Duration, Instant};

use bytes::Bytes;
use mainstay_proto_wire::etcd::etcdserverpb::watch_request::RequestUnion;
use mainstay_proto_wire::etcd::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest};
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::histogram::Histogram;
use super::load::{Load, Measured};
use super::stamps;
use super::wire::{Sent, Wire};

const WRITERS: usize = 64;
const PACE: Duration = Duration::from_millis(20);
/// Watchers have so long to catch up after the last put.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Until the last put is known.
const NEVER: Duration = Duration::from_secs(86_400);
/// So many streams share a connection.
const STREAMS_PER_CONNECTION: usize = 4;

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
    count: u64,
}

impl Load {
    /// One writer that waits between puts.
    pub(crate) async fn paced_watch(self, shape: Shape, attempt: usize, round: Duration) -> Measured {
        let epoch = Instant::now();
        let prefix = format!("paced/{}/{attempt}/", shape.watchers);
        let watchers = self.watch(shape, &prefix, epoch).await;
        let mut wire = Wire::connect(&self.endpoint, "/etcdserverpb.KV/Put").await;
        let start = Instant::now();
        let mut puts = 0;
        while start.elapsed() < round {
            wire.call(&stamped(&prefix, puts, epoch), true);
            let mut is_answered = false;
            while !is_answered {
                wire.flush().await;
                wire.read().await;
                wire.take(|_, sent| is_answered |= matches!(sent, Sent::Message(_)));
            }
            puts += 1;
            tokio::time::sleep(PACE).await;
        }
        watchers.finish(puts, start.elapsed()).await
    }

    /// Writers that put as fast as they can.
    pub(crate) async fn unpaced_watch(self, shape: Shape, attempt: usize, round: Duration) -> Measured {
        let epoch = Instant::now();
        let prefix = format!("unpaced/{}/{attempt}/", shape.watchers);
        let watchers = self.watch(shape, &prefix, epoch).await;
        let request = move |writer: usize, done: u64| {
            // A closure that is copied into each task borrows nothing.
            let prefix = format!("unpaced/{}/{attempt}/", shape.watchers);
            stamped(&prefix, writer as u64 * 1000 + done % 100, epoch)
        };
        let written = self.run("/etcdserverpb.KV/Put", WRITERS, round, request, |_| ()).await;
        let mut measured = watchers.finish(written.ops, written.took).await;
        let millis = |part| written.latency.percentile(part).as_secs_f64() * 1e3;
        let puts = format!("; puts p50 {:.2} ms, p99 {:.2} ms", millis(0.5), millis(0.99));
        measured.note += &puts;
        measured
    }

    async fn watch(&self, shape: Shape, prefix: &str, epoch: Instant) -> Watchers {
        let (goal, known) = watch::channel(None);
        let connections = shape.streams.div_ceil(STREAMS_PER_CONNECTION);
        let each = shape.watchers / shape.streams;
        let mut tasks = Vec::new();
        for connection in 0..connections {
            let streams = (connection..shape.streams).step_by(connections).count();
            let mut wire = Wire::connect(&self.endpoint, "/etcdserverpb.Watch/Watch").await;
            for _ in 0..streams {
                let stream = wire.call(&create(prefix), false);
                for _ in 1..each {
                    wire.send(stream, &create(prefix), false);
                }
            }
            let mut created = 0;
            while created < streams * each {
                wire.flush().await;
                wire.read().await;
                wire.take(|_, sent| match sent {
                    Sent::Message(response) => created += usize::from(stamps::is_created(response)),
                    Sent::End => panic!("a watch stream ended"),
                });
            }
            let watching = watching(wire, (streams * each) as u64, known.clone(), epoch);
            tasks.push(tokio::spawn(watching));
        }
        Watchers { tasks, goal, count: shape.watchers as u64 }
    }
}

/// Reads a connection's events until each of its watchers has seen as many as it has to.
async fn watching(
    mut wire: Wire,
    watchers: u64,
    mut known: watch::Receiver<Option<u64>>,
    epoch: Instant,
) -> Histogram {
    let mut latency = Histogram::default();
    let mut patience = std::pin::pin!(tokio::time::sleep(NEVER));
    let mut is_bounded = false;
    loop {
        let goal = known.borrow_and_update().map(|goal| goal * watchers);
        if goal.is_some_and(|goal| latency.total() >= goal) {
            return latency;
        }
        if goal.is_some() && !is_bounded {
            is_bounded = true;
            patience.as_mut().reset(tokio::time::Instant::now() + CATCH_UP);
        }
        wire.flush().await;
        tokio::select! {
            biased;
            () = &mut patience => return latency,
            () = wire.read() => wire.take(|_, sent| match sent {
                Sent::Message(response) => {
                    let now = epoch.elapsed();
                    let mut add = |at| latency.add(now.saturating_sub(Duration::from_nanos(at)));
                    stamps::sent(response, &mut add);
                }
                Sent::End => panic!("a watch stream ended"),
            }),
            changed = known.changed(), if goal.is_none() => changed.unwrap(),
        }
    }
}

impl Watchers {
    async fn finish(self, puts: u64, writing: Duration) -> Measured {
        self.goal.send(Some(puts)).unwrap();
        let mut measured = Measured { ops: puts, took: writing, ..Measured::default() };
        let drained = Instant::now();
        for task in self.tasks {
            measured.latency.merge(&task.await.unwrap());
        }
        let all = writing + drained.elapsed();
        let events = measured.latency.total();
        measured.note = format!("{:.0} events/s", events as f64 / all.as_secs_f64());
        let due = puts * self.count;
        if events < due {
            let missing = (due - events) as f64 / due as f64 * 100.0;
            let missing = format!("; {missing:.1} % of the events not seen {CATCH_UP:?} after the last put");
            measured.note.push_str(&missing);
        }
        measured
    }
}

fn create(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    let request = WatchCreateRequest {
        key: prefix.as_bytes().to_vec().into(),
        range_end: end.into(),
        ..WatchCreateRequest::default()
    };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) }.encode_to_vec()
}

/// A put that carries the time it was sent at.
fn stamped(prefix: &str, number: u64, epoch: Instant) -> Vec<u8> {
    let mut value = vec![b'v'; 256];
    value[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_le_bytes());
    let put = PutRequest {
        key: format!("{prefix}{number}").into(),
        value: Bytes::from(value),
        ..PutRequest::default()
    };
    put.encode_to_vec()
}
