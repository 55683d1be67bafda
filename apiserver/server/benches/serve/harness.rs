//! A server and a client for the bench: everything in this process, over real TLS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mainstay_apiserver_server::authz::webhook::AuthorizationConfig;
use mainstay_apiserver_server::config::{
    AdmissionConfig, AuthenticationSettings, KubeletClient, Limits, PemPair, ServerConfig,
    ServiceAccountKeys, SystemRandomness,
};
use mainstay_apiserver_server::{ApiServer, start};
use mainstay_base::lifecycle::{SystemClock, Tasks};
use mainstay_base::pki::{Ca, LeafRequest, SubjectName, Usage, generate_key_pem};
use mainstay_store::{Config, Store};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A running server.
pub(crate) struct Server {
    pub(crate) api: ApiServer,
    pub(crate) store: Store,
    pub(crate) client: Client,
    pub(crate) ca_pem: Vec<u8>,
    ca: Ca,
    tasks: Tasks,
    dir: Option<TempDir>,
}

pub(crate) fn leaf(ca: &Ca, name: &str, groups: &[&str], usage: Usage) -> PemPair {
    assert!(groups.len() < 2, "a certificate carries one group");
    let request = LeafRequest {
        common_name: name.to_owned(),
        organization: groups.first().map(|group| (*group).to_owned()),
        names: if usage == Usage::Client { vec![] } else { vec![SubjectName::Ip(LOCALHOST)] },
        usage,
        validity: HOUR,
    };
    let leaf = ca.issue(&request, OffsetDateTime::now_utc()).unwrap();
    PemPair { cert_pem: leaf.certificate_pem.into_bytes(), key_pem: leaf.key_pem.into_bytes() }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Self::start_in(dir.path().to_owned()).await;
        Self { dir: Some(dir), ..server }
    }

    /// A client certificate with all rights.
    pub(crate) fn identity(&self) -> PemPair {
        leaf(&self.ca, "admin", &["system:masters"], Usage::Client)
    }

    /// One over a directory of the caller's.
    pub(crate) async fn start_in(dir: PathBuf) -> Self {
        let store = Store::open(Config { dir: dir.join("store"), ..Config::default() }).await.unwrap();
        let ca = Ca::generate("bench", OffsetDateTime::now_utc(), HOUR).unwrap();
        let ca_pem = ca.certificate_pem().as_bytes().to_vec();
        let authorities = watch::channel(ca.certificate_pem().to_owned()).1;
        let tasks = Tasks::new("bench", CancellationToken::new());
        let issuer = "https://kubernetes.default.svc".to_owned();
        let config = ServerConfig {
            bind: (LOCALHOST, 0).into(),
            advertise: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            serving: watch::channel(leaf(&ca, "server", &[], Usage::Server)).1,
            client_ca_pem: authorities.clone(),
            service_account: ServiceAccountKeys {
                signing_key_pem: generate_key_pem().unwrap().into_bytes(),
                verification_keys_pem: Vec::new(),
                audiences: vec![issuer.clone()],
                issuer,
                expiration_max: HOUR,
            },
            front_proxy: None,
            kubelet: KubeletClient {
                identity: watch::channel(leaf(&ca, "kubelet-client", &[], Usage::Client)).1,
                ca_pem: authorities,
            },
            service_cidr: "10.96.0.0/16".parse().unwrap(),
            cluster_cidr: None,
            node_ports: 30000..=32767,
            anonymous: true,
            authorization: AuthorizationConfig::default(),
            admission: AdmissionConfig::default(),
            audit: None,
            authentication: AuthenticationSettings::default(),
            encryption: None,
            endpoints: Vec::new(),
            stale_reads: false,
            tracer: None,
            limits: Limits { watch_timeout_min: HOUR, ..Limits::default() },
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
            metrics: prometheus::Registry::new(),
        };
        let api = start(config, store.clone(), tasks.clone()).await.unwrap();
        let client =
            Client::new(api.local_addr(), &ca_pem, &leaf(&ca, "admin", &["system:masters"], Usage::Client));
        Self { api, store, client, ca_pem, ca, tasks, dir: None }
    }

    pub(crate) async fn stop(self) {
        self.tasks.close_and_join(Duration::from_secs(30)).await.unwrap();
        self.store.close().await.unwrap();
        drop(self.dir);
    }
}

/// Opens a connection for each request.
#[derive(Clone)]
pub(crate) struct Client {
    addr: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn new(addr: SocketAddr, ca_pem: &[u8], identity: &PemPair) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem).unwrap()).unwrap();
        let chain = CertificateDer::pem_slice_iter(&identity.cert_pem).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(&identity.key_pem).unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        Self { addr, tls: Arc::new(tls) }
    }

    async fn tls(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![protocol.to_vec()];
        let connector = TlsConnector::from(Arc::new(tls));
        connector.connect(ServerName::from(self.addr.ip()), stream).await.unwrap()
    }

    /// A connection for one request after the other.
    pub(crate) async fn connect(&self) -> Connection {
        let io = TokioIo::new(self.tls(b"http/1.1").await);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let _task = tokio::spawn(connection);
        Connection { sender }
    }

    /// A connection for many at once.
    pub(crate) async fn connect_http2(&self) -> Http2 {
        let io = TokioIo::new(self.tls(b"h2").await);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        let _task = tokio::spawn(connection);
        Http2 { sender, authority: self.addr.to_string() }
    }

    async fn send(&self, method: Method, path: &str, accept: &str, body: &str) -> Response<Incoming> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let tls = connector.connect(ServerName::from(self.addr.ip()), stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
        let _task = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "bench")
            .header("accept", accept)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response
    }

    /// How long the answer is.
    pub(crate) async fn get(&self, path: &str, accept: &str) -> usize {
        self.send(Method::GET, path, accept, "").await.into_body().collect().await.unwrap().to_bytes().len()
    }

    pub(crate) async fn post(&self, path: &str, body: &str) {
        self.send(Method::POST, path, "application/json", body).await.into_body().collect().await.unwrap();
    }

    pub(crate) async fn watch(&self, path: &str) -> Lines {
        Lines {
            body: self.send(Method::GET, path, "application/json", "").await.into_body(),
            buffer: BytesMut::new(),
        }
    }
}

fn request(method: Method, uri: &str, accept: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "bench")
        .header("accept", accept)
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap()
}

/// An HTTP/1.1 connection.
pub(crate) struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Connection {
    /// One request, its answer read to the end.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Bytes) {
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request(method, path, "application/json", body)).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.into_body().collect().await.unwrap();
    }

    /// How long the answer is; it is not kept.
    pub(crate) async fn get(&mut self, path: &str, accept: &str) -> usize {
        self.sender.ready().await.unwrap();
        let answer =
            self.sender.send_request(request(Method::GET, path, accept, Bytes::new())).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let (mut body, mut bytes) = (answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().into_data().unwrap_or_default().len();
        }
        bytes
    }
}

/// An HTTP/2 connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Http2 {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    authority: String,
}

impl Http2 {
    async fn send(&self, method: Method, path: &str, body: Bytes) -> Response<Incoming> {
        let uri = format!("https://{}{path}", self.authority);
        let answer =
            self.sender.clone().send_request(request(method, &uri, "application/json", body)).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer
    }

    /// One request, and its whole answer.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Bytes {
        self.send(method, path, body).await.into_body().collect().await.unwrap().to_bytes()
    }

    /// One call of a gRPC method, whose answer must be sound.
    pub(crate) async fn call_grpc(&mut self, path: &str, body: Bytes) {
        let uri = format!("https://{}{path}", self.authority);
        let mut request = request(Method::POST, &uri, "", body);
        let headers = request.headers_mut();
        headers.clear();
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        let answer = self.sender.clone().send_request(request).await.unwrap();
        let answer = answer.into_body().collect().await.unwrap();
        let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status"));
        assert_eq!(status.map(HeaderValue::as_bytes), Some(b"0".as_slice()), "{path}");
    }

    pub(crate) async fn watch(&self, path: &str) -> Lines {
        Lines { body: self.send(Method::GET, path, Bytes::new()).await.into_body(), buffer: BytesMut::new() }
    }
}

/// The events of a watch.
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    pub(crate) async fn next_line(&mut self) -> Option<BytesMut> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                return Some(self.buffer.split_to(end + 1));
            }
            let frame = self.body.frame().await?.ok()?;
            self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}
