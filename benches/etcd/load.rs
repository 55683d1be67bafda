//! The load: closed loops of clients, each waiting for its answer before it asks again.
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use mainstay_proto_wire::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use mainstay_proto_wire::etcd::etcdserverpb::kv_client::KvClient;
use mainstay_proto_wire::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use mainstay_proto_wire::etcd::etcdserverpb::request_op::Request;
use mainstay_proto_wire::etcd::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RangeResponse, RequestOp, SnapshotRequest, TxnRequest, TxnResponse,
};
use prost::Message;
use tonic::transport::Channel;

use super::connect::connect;
use super::histogram::Histogram;
use super::wire::{Sent, Wire};

/// So many clients share a connection.
const CLIENTS_PER_CONNECTION: usize = 16;
const VALUE_BYTES: usize = 256;

/// What a round gave.
#[derive(Clone, Default)]
pub(crate) struct Measured {
    pub(crate) ops: u64,
    pub(crate) took: Duration,
    pub(crate) latency: Histogram,
    /// The servers' CPU time.
    pub(crate) cpu: Duration,
    /// Something else worth telling.
    pub(crate) note: String,
}

/// A generator for one server.
pub(crate) struct Load {
    pub(crate) endpoint: String,
}

impl Load {
    pub(crate) fn new(endpoint: String) -> Self {
        Self { endpoint }
    }

    pub(crate) async fn channels(&self, clients: usize) -> Vec<Channel> {
        join_all((0..clients.div_ceil(CLIENTS_PER_CONNECTION)).map(|_| connect(&self.endpoint)))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect()
    }

    /// Asks in closed loops for a while.
    pub(crate) async fn run(
        &self,
        path: &'static str,
        clients: usize,
        round: Duration,
        request: impl Fn(usize, u64) -> Vec<u8> + Copy + Send + 'static,
        check: impl Fn(&[u8]) + Copy + Send + 'static,
    ) -> Measured {
        let mut wires = Vec::new();
        for _ in 0..clients.div_ceil(CLIENTS_PER_CONNECTION) {
            wires.push(Wire::connect(&self.endpoint, path).await);
        }
        let start = Instant::now();
        let running: Vec<_> = wires
            .into_iter()
            .enumerate()
            .map(|(number, wire)| {
                let first = number * CLIENTS_PER_CONNECTION;
                let loops = Loops::new(wire, first..clients.min(first + CLIENTS_PER_CONNECTION));
                tokio::spawn(loops.run(start + round, request, check))
            })
            .collect();
        let mut measured = Measured::default();
        for task in running {
            measured.latency.merge(&task.await.unwrap());
        }
        measured.ops = measured.latency.total();
        measured.took = start.elapsed();
        measured
    }

    pub(crate) async fn puts(self, clients: usize, round: Duration) -> Measured {
        let request = |client, done| put(format!("put/{client}/{}", done % 1000)).encode_to_vec();
        self.run("/etcdserverpb.KV/Put", clients, round, request, |_| ()).await
    }

    pub(crate) async fn creates(self, clients: usize, attempt: usize, round: Duration) -> Measured {
        // Every round has keys of its own.
        let first = (attempt * 1000 + clients) as u64 * 10_000_000;
        let request = move |client, done| create(client, first + done).encode_to_vec();
        let check = |answer: &[u8]| assert!(TxnResponse::decode(answer).unwrap().succeeded);
        self.run("/etcdserverpb.KV/Txn", clients, round, request, check).await
    }

    pub(crate) async fn gets(
        self,
        clients: usize,
        keys: usize,
        serializable: bool,
        round: Duration,
    ) -> Measured {
        let request = move |client: usize, done: u64| {
            let key = filled("read/", (client as u64 * 7919 + done * 31) as usize % keys);
            RangeRequest { key, serializable, ..RangeRequest::default() }.encode_to_vec()
        };
        let check = |answer: &[u8]| assert_eq!(RangeResponse::decode(answer).unwrap().kvs.len(), 1);
        self.run("/etcdserverpb.KV/Range", clients, round, request, check).await
    }

    pub(crate) async fn ranges(self, clients: usize, keys: usize, round: Duration) -> Measured {
        let request = move |client: usize, done: u64| {
            let first = (client as u64 * 7919 + done * 997) as usize % (keys - 1000);
            let (key, range_end) = (filled("read/", first), filled("read/", first + 1000));
            RangeRequest { key, range_end, ..RangeRequest::default() }.encode_to_vec()
        };
        let check = |answer: &[u8]| assert!(answer.len() > 1000 * VALUE_BYTES);
        self.run("/etcdserverpb.KV/Range", clients, round, request, check).await
    }

    /// Puts so many keys under a prefix, in transactions of a hundred.
    pub(crate) async fn fill(self, prefix: &'static str, keys: usize) {
        const CLIENTS: usize = 16;
        let channels = self.channels(CLIENTS).await;
        let running: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let mut kv = KvClient::new(channels[client / CLIENTS_PER_CONNECTION].clone());
                tokio::spawn(async move {
                    let mut first = client * 100;
                    while first < keys {
                        let puts = (first..(first + 100).min(keys)).map(|i| PutRequest {
                            key: filled(prefix, i),
                            value: vec![b'v'; VALUE_BYTES].into(),
                            ..PutRequest::default()
                        });
                        let success =
                            puts.map(|put| RequestOp { request: Some(Request::RequestPut(put)) }).collect();
                        kv.txn(TxnRequest { success, ..TxnRequest::default() }).await.unwrap();
                        first += CLIENTS * 100;
                    }
                })
            })
            .collect();
        for task in running {
            task.await.unwrap();
        }
    }

    /// Takes a snapshot; its size and how long it took, or why there is none.
    pub(crate) async fn snapshot(self) -> Result<(u64, Duration), tonic::Status> {
        let channel = connect(&self.endpoint).await.unwrap();
        let start = Instant::now();
        let mut parts = MaintenanceClient::new(channel)
            .max_decoding_message_size(64 << 20)
            .snapshot(SnapshotRequest {})
            .await?
            .into_inner();
        let mut bytes = 0;
        while let Some(part) = parts.message().await? {
            bytes += part.blob.len() as u64;
        }
        Ok((bytes, start.elapsed()))
    }
}

fn filled(prefix: &str, number: usize) -> Bytes {
    format!("{prefix}{number:08}").into()
}

fn put(key: String) -> PutRequest {
    PutRequest { key: key.into(), value: vec![b'v'; VALUE_BYTES].into(), ..PutRequest::default() }
}

fn create(client: usize, number: u64) -> TxnRequest {
    let put = put(format!("create/{client}/{number}"));
    let absent = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: put.key.clone(),
        target_union: Some(TargetUnion::CreateRevision(0)),
        ..Compare::default()
    };
    TxnRequest {
        compare: vec![absent],
        success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
        failure: Vec::new(),
    }
}

/// Clients on one connection, each of which asks again once it is answered.
struct Loops {
    wire: Wire,
    clients: Vec<Client>,
    latency: Histogram,
}

struct Client {
    number: usize,
    done: u64,
    /// The stream of its call; none between two calls.
    stream: Option<u32>,
    asked: Instant,
    is_answered: bool,
}

impl Loops {
    fn new(wire: Wire, numbers: std::ops::Range<usize>) -> Self {
        let asked = Instant::now();
        let client = |number| Client { number, done: 0, stream: None, asked, is_answered: false };
        let clients = numbers.map(client).collect();
        Self { wire, clients, latency: Histogram::default() }
    }

    /// Asks until then, and waits for the last answers.
    async fn run(
        mut self,
        until: Instant,
        request: impl Fn(usize, u64) -> Vec<u8>,
        check: impl Fn(&[u8]),
    ) -> Histogram {
        loop {
            let now = Instant::now();
            for client in self.clients.iter_mut().filter(|client| client.stream.is_none() && now < until) {
                let message = request(client.number, client.done);
                if !self.wire.has_room(message.len()) {
                    break;
                }
                client.asked = Instant::now();
                client.stream = Some(self.wire.call(&message, true));
            }
            self.wire.flush().await;
            if now >= until && self.clients.iter().all(|client| client.stream.is_none()) {
                return self.latency;
            }
            self.wire.read().await;
            let (clients, latency) = (&mut self.clients, &mut self.latency);
            let now = Instant::now();
            self.wire.take(|stream, sent| match sent {
                Sent::Message(message) => {
                    check(message);
                    let asking = clients.iter_mut().find(|client| client.stream == Some(stream)).unwrap();
                    latency.add(now - asking.asked);
                    asking.done += 1;
                    asking.is_answered = true;
                }
                Sent::End => {
                    let asking = clients.iter_mut().find(|client| client.stream == Some(stream)).unwrap();
                    asking.stream = None;
                    assert!(std::mem::take(&mut asking.is_answered), "a call was refused");
                }
            });
        }
    }
}
