//! The load: closed loops of clients, each waiting for its answer before it asks again.
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use mainstay_proto_wire::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use mainstay_proto_wire::etcd::etcdserverpb::kv_client::KvClient;
use mainstay_proto_wire::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use mainstay_proto_wire::etcd::etcdserverpb::request_op::Request;
use mainstay_proto_wire::etcd::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, SnapshotRequest, TxnRequest,
};
use tonic::transport::Channel;

use super::histogram::Histogram;
use super::peer::connect;

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

    /// Runs `work` in closed loops for a while.
    async fn run<F, W>(&self, clients: usize, round: Duration, work: F) -> Measured
    where
        F: Fn(KvClient<Channel>, usize, u64) -> W + Copy + Send + 'static,
        W: Future<Output = ()> + Send,
    {
        let channels = self.channels(clients).await;
        let start = Instant::now();
        let running: Vec<_> = (0..clients)
            .map(|client| {
                let kv = KvClient::new(channels[client / CLIENTS_PER_CONNECTION].clone())
                    .max_decoding_message_size(64 << 20);
                tokio::spawn(async move {
                    let mut latency = Histogram::default();
                    let mut done = 0;
                    while start.elapsed() < round {
                        let asked = Instant::now();
                        work(kv.clone(), client, done).await;
                        latency.add(asked.elapsed());
                        done += 1;
                    }
                    latency
                })
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
        let work = |mut kv: KvClient<Channel>, client: usize, done: u64| async move {
            kv.put(put(format!("put/{client}/{}", done % 1000))).await.unwrap();
        };
        self.run(clients, round, work).await
    }

    pub(crate) async fn creates(self, clients: usize, attempt: usize, round: Duration) -> Measured {
        // Every round has keys of its own.
        let first = (attempt * 1000 + clients) as u64 * 10_000_000;
        self.run(clients, round, move |kv, client, done| create(kv, client, first + done)).await
    }

    pub(crate) async fn gets(
        self,
        clients: usize,
        keys: usize,
        serializable: bool,
        round: Duration,
    ) -> Measured {
        let linearizable = move |mut kv: KvClient<Channel>, client: usize, done: u64| async move {
            let key = filled("read/", (client as u64 * 7919 + done * 31) as usize % keys);
            let request = RangeRequest { key, serializable, ..RangeRequest::default() };
            assert_eq!(kv.range(request).await.unwrap().into_inner().kvs.len(), 1);
        };
        self.run(clients, round, linearizable).await
    }

    pub(crate) async fn ranges(self, clients: usize, keys: usize, round: Duration) -> Measured {
        let work = move |mut kv: KvClient<Channel>, client: usize, done: u64| async move {
            let first = (client as u64 * 7919 + done * 997) as usize % (keys - 1000);
            let request = RangeRequest {
                key: filled("read/", first),
                range_end: filled("read/", first + 1000),
                ..RangeRequest::default()
            };
            assert_eq!(kv.range(request).await.unwrap().into_inner().kvs.len(), 1000);
        };
        self.run(clients, round, work).await
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

async fn create(mut kv: KvClient<Channel>, client: usize, number: u64) {
    let put = put(format!("create/{client}/{number}"));
    let absent = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: put.key.clone(),
        target_union: Some(TargetUnion::CreateRevision(0)),
        ..Compare::default()
    };
    let request = TxnRequest {
        compare: vec![absent],
        success: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
        failure: Vec::new(),
    };
    assert!(kv.txn(request).await.unwrap().into_inner().succeeded);
}
