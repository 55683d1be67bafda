//! A TLS server of a test's own: it stands for webhooks, conversion webhooks and extension servers, and remembers what it
//! was asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mainstay_base::pki::{LeafRequest, SubjectName, Usage};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::server::TestServer;

/// A request as the peer saw it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The common name in the caller's certificate, where it showed one of the test's CA.
    pub(crate) caller: Option<String>,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What a peer does with a request.
pub(crate) enum Does {
    /// Answers with a code and JSON.
    Answer(u16, Value),
    /// Leaves the caller waiting.
    Nothing,
}

/// The server.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    memory: Arc<Mutex<Vec<Asked>>>,
    ca_pem: String,
}

impl Peer {
    /// Serves until the API server's tasks end, with a certificate of the API server's CA for its address and for
    /// `peer.default.svc`.
    pub(crate) async fn start(
        server: &TestServer,
        act: impl Fn(&Asked) -> Does + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = acceptor(server);
        let memory = Arc::new(Mutex::new(Vec::new()));
        let (act, remembered) = (Arc::new(act), Arc::clone(&memory));
        let (stop, tasks) = (server.tasks.token(), server.tasks.clone());
        server.tasks.spawn("test-peer", async move {
            loop {
                let stream = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                let (acceptor, act, memory) = (acceptor.clone(), Arc::clone(&act), Arc::clone(&remembered));
                let stop = stop.clone();
                tasks.spawn("test-peer-connection", async move {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        () = serve(acceptor, stream, act, memory) => {}
                    }
                });
            }
        });
        Self { addr, memory, ca_pem: server.ca.certificate_pem().to_owned() }
    }

    /// Its address with a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.addr)
    }

    /// The CA of its certificate, as `caBundle` has it.
    pub(crate) fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.ca_pem)
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.memory.lock().clone()
    }
}

fn acceptor(server: &TestServer) -> TlsAcceptor {
    let request = LeafRequest {
        common_name: "peer".to_owned(),
        organization: None,
        names: vec![
            SubjectName::Ip(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
            SubjectName::Dns("peer.default.svc".to_owned()),
        ],
        usage: Usage::Server,
        validity: Duration::from_secs(3600),
    };
    let pair = server.ca.issue(&request, OffsetDateTime::now_utc()).unwrap();
    let chain =
        CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve<A>(
    acceptor: TlsAcceptor,
    stream: tokio::net::TcpStream,
    act: Arc<A>,
    memory: Arc<Mutex<Vec<Asked>>>,
) where
    A: Fn(&Asked) -> Does + Send + Sync + 'static,
{
    let Ok(tls) = acceptor.accept(stream).await else { return };
    let caller = tls.get_ref().1.peer_certificates().and_then(|chain| common_name(chain.first()?));
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (act, memory, caller) = (Arc::clone(&act), Arc::clone(&memory), caller.clone());
        async move {
            let (parts, body) = request.into_parts();
            let asked = Asked {
                method: parts.method.to_string(),
                target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                headers: parts.headers,
                body: body.collect().await?.to_bytes(),
                caller,
            };
            let does = act(&asked);
            memory.lock().push(asked);
            let Does::Answer(code, answer) = does else { std::future::pending().await };
            let response = http::Response::builder().status(code).header("content-type", "application/json");
            Ok::<_, hyper::Error>(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap())
        }
    });
    // A caller that hangs up is no concern of the test's.
    let _ended =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}
