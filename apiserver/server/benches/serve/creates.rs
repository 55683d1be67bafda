//! What a create costs beside a write of the store: in the store's own process, and over its own face, gRPC with TLS, from
//! the same machine by as many connections. The keys and sizes of what is stored are those of the create.

use std::path::Path;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::join_all;
use http::Method;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::{Compare, Config, PutRequest, Store, Txn};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use prost::Message as _;
use serde_json::json;

use crate::harness::Http2;
use crate::load::{self, Caller, Outcome};
use crate::process::{SERVER, STORE, ServerProcess};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(8);
/// About what is stored of such a ConfigMap.
const VALUE_BYTES: usize = 512;

/// ConfigMaps made from 64 connections, and what the store does with the same writes.
pub(crate) async fn create() {
    let dir = tempfile::tempdir().unwrap();
    let alone = store_alone(&dir.path().join("alone")).await;
    println!("the store alone, {CONNECTIONS} tasks in its process: {alone}");
    let by_face = {
        let server = ServerProcess::start(STORE, &folder(dir.path(), "served"));
        measured("the store over gRPC and TLS", &server, store_served(&server)).await
    };
    let server = ServerProcess::start(SERVER, &folder(dir.path(), "server"));
    let made = |connection: usize, at: usize| {
        let body =
            json!({"metadata": {"name": format!("m-{connection}-{at}")}, "data": {"k": "v".repeat(256)}});
        (Method::POST, MAPS.to_owned(), Bytes::from(body.to_string()))
    };
    let creates = load::run(&server.client, CONNECTIONS, TIME, made);
    let outcome = measured("create of a ConfigMap", &server, creates).await;
    let part = |of: &Outcome| 100.0 * outcome.per_second / of.per_second;
    println!(
        "that is {:.0} % of the store over gRPC and TLS, {:.0} % of it alone",
        part(&by_face),
        part(&alone)
    );
}

fn folder(dir: &Path, name: &str) -> std::path::PathBuf {
    let folder = dir.join(name);
    std::fs::create_dir(&folder).unwrap();
    folder
}

/// Prints a load's outcome and what a request took of the server's CPU.
async fn measured(what: &str, server: &ServerProcess, load: impl Future<Output = Outcome>) -> Outcome {
    let before = server.cpu();
    let outcome = load.await;
    let cpu = (server.cpu() - before) / TIME.as_secs_f64() / outcome.per_second;
    println!("{what}, {CONNECTIONS} connections: {outcome}; {:.0} us of the server's CPU each", cpu * 1e6);
    outcome
}

fn key(number: usize, at: usize) -> Bytes {
    Bytes::from(format!("/registry/configmaps/default/m-{number}-{at}"))
}

struct Task {
    store: Store,
    number: usize,
}

impl Caller for Task {
    async fn call(&mut self, at: usize) {
        let key = key(self.number, at);
        let put = PutRequest::new(key.clone(), Bytes::from(vec![b'v'; VALUE_BYTES]));
        self.store.txn(Txn::when([Compare::absent(key)]).then([put])).await.unwrap();
    }
}

async fn store_alone(dir: &Path) -> Outcome {
    let store = Store::open(Config { dir: dir.to_owned(), ..Config::default() }).await.unwrap();
    let tasks = (0..CONNECTIONS).map(|number| Task { store: store.clone(), number });
    let outcome = load::drive(tasks.collect(), TIME).await;
    store.close().await.unwrap();
    outcome
}

struct Connected {
    connection: Http2,
    number: usize,
}

impl Caller for Connected {
    async fn call(&mut self, at: usize) {
        let key = key(self.number, at);
        let absent = pb::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Create.into(),
            key: key.clone(),
            target_union: Some(TargetUnion::CreateRevision(0)),
            ..pb::Compare::default()
        };
        let put = pb::PutRequest { key, value: vec![b'v'; VALUE_BYTES].into(), ..pb::PutRequest::default() };
        let put = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
        let txn = pb::TxnRequest { compare: vec![absent], success: vec![put], failure: Vec::new() };
        let mut body = BytesMut::with_capacity(5 + txn.encoded_len());
        body.put_u8(0);
        body.put_u32(u32::try_from(txn.encoded_len()).unwrap());
        txn.encode(&mut body).unwrap();
        self.connection.call_grpc("/etcdserverpb.KV/Txn", body.freeze()).await;
    }
}

async fn store_served(server: &ServerProcess) -> Outcome {
    let opened = join_all((0..CONNECTIONS).map(|_| server.client.connect_http2())).await;
    let callers = opened.into_iter().enumerate();
    let callers = callers.map(|(number, connection)| Connected { connection, number });
    load::drive(callers.collect(), TIME).await
}
