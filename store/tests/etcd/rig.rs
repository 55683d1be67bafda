//! A server over a new store, on a free port.
use std::time::Duration;

use mainstay_proto_wire::etcd::etcdserverpb::kv_client::KvClient;
use mainstay_proto_wire::etcd::etcdserverpb::{PutRequest, RangeRequest, RangeResponse, ResponseHeader};
use mainstay_store::etcd::{Endpoint, FaceConfig, Listener, Server};
use mainstay_store::{Config, Limits, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Status};

/// The longest wait for anything that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) channel: Channel,
    pub(crate) port: u16,
    /// Of the listener that serves metrics and health only.
    pub(crate) metrics_port: u16,
    stop: CancellationToken,
    served: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(FaceConfig::default()).await
    }

    pub(crate) async fn with(face: FaceConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { request_bytes_max: 100_000, ..Limits::default() };
        let config = Config { dir: dir.path().join("store"), sync: false, limits, ..Config::default() };
        let store = Store::open(config).await.unwrap();
        Self::over(store, face, dir).await
    }

    /// Serves a store that is open already.
    pub(crate) async fn over(store: Store, face: FaceConfig, dir: tempfile::TempDir) -> Self {
        let (listener, port) = listen().await;
        let (metrics, metrics_port) = listen().await;
        let listeners = vec![listener, metrics.metrics_only()];
        let stop = CancellationToken::new();
        let served = Server::new(store.clone(), face).unwrap().serve(listeners, stop.clone());
        #[allow(clippy::disallowed_methods, reason = "a test's own task, joined at its end")]
        let served = tokio::spawn(served);
        let uri: Uri = format!("http://127.0.0.1:{port}").parse().unwrap();
        let channel = Channel::builder(uri).connect().await.unwrap();
        Self { store, channel, port, metrics_port, stop, served, _dir: dir }
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> ResponseHeader {
        let request = PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
        self.kv().put(request).await.unwrap().into_inner().header.unwrap()
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        Ok(self.kv().range(request).await?.into_inner())
    }

    /// A plain HTTP request (1.0: an answer without chunks): its status and body.
    pub(crate) async fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        http(self.port, method, path, body).await
    }

    /// Stops everything in order.
    pub(crate) async fn stop(self) {
        drop(self.channel);
        self.stop.cancel();
        tokio::time::timeout(SOON, self.served).await.unwrap().unwrap();
        self.store.close().await.unwrap();
    }
}

async fn listen() -> (Listener, u16) {
    let endpoint: Endpoint = "http://127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&endpoint, None).await.unwrap();
    let Endpoint::Tcp { port, .. } = *listener.endpoint() else { panic!("not TCP") };
    (listener, port)
}

/// A plain HTTP request to a port of this machine.
pub(crate) async fn http(port: u16, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.0\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub(crate) fn bytes(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

/// A refused call's code and text.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

/// What a refused call must answer.
pub(crate) fn refusal(code: Code, text: &str) -> (Code, String) {
    (code, format!("etcdserver: {text}"))
}
