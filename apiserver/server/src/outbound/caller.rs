//! [`Caller`]: one request to a [`Remote`], over connections that are kept.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mainstay_base::lifecycle::Tasks;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Remote;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Idle connections kept.
const IDLE_MAX: usize = 4;

type Sender = SendRequest<Full<Bytes>>;

/// A call without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method} {url:?}: {why}")]
pub struct CallError {
    /// The method, as Go's client spells it.
    pub method: &'static str,
    /// What was called.
    pub url: String,
    /// What happened.
    pub why: String,
}

/// Calls one service. Clones share connections.
#[derive(Clone)]
pub struct Caller {
    inner: Arc<Inner>,
}

struct Inner {
    remote: Remote,
    tasks: Tasks,
    tls: Mutex<Option<Arc<ClientConfig>>>,
    idle: Mutex<Vec<Sender>>,
}

impl Caller {
    /// Calls `remote`; connections run in `tasks`.
    pub fn new(remote: Remote, tasks: Tasks) -> Self {
        let inner = Inner { remote, tasks, tls: Mutex::default(), idle: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The code and body that a POST of JSON is answered with. `path` is added to the remote's URL.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn post(&self, path: &str, body: Bytes, timeout: Duration) -> Result<(u16, Bytes), CallError> {
        self.call(Method::POST, path, body, timeout).await
    }

    /// The code and body that a GET is answered with.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn get(&self, path: &str, timeout: Duration) -> Result<(u16, Bytes), CallError> {
        self.call(Method::GET, path, Bytes::new(), timeout).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<(u16, Bytes), CallError> {
        let url = format!("{}{path}", self.inner.remote.url);
        let shown = if method == Method::POST { "Post" } else { "Get" };
        let exchange = self.exchange(&method, &url, body);
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(CallError { method: shown, url, why }),
            Err(_elapsed) => {
                Err(CallError { method: shown, url, why: "context deadline exceeded".to_owned() })
            }
        }
    }

    async fn exchange(&self, method: &Method, url: &str, body: Bytes) -> Result<(u16, Bytes), String> {
        let uri: Uri = url.parse().map_err(|error| format!("parsing the URL: {error}"))?;
        let host = uri.host().ok_or("the URL names no host")?.trim_matches(['[', ']']).to_owned();
        let request = |body: Bytes| {
            let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
            let authority = uri.authority().map_or(host.as_str(), http::uri::Authority::as_str);
            let mut request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header(header::HOST, authority)
                .header(header::ACCEPT, "application/json")
                .header(header::USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")));
            if method == Method::POST {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
            if let Some(token) = &self.inner.remote.bearer_token {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            request.body(Full::new(body)).map_err(|error| error.to_string())
        };
        // A kept connection may have been closed meanwhile: then, and only then, is a fresh one tried.
        let kept = self.inner.idle.lock().pop();
        if let Some(mut kept) = kept
            && kept.ready().await.is_ok()
            && let Ok(answer) = kept.send_request(request(body.clone())?).await
        {
            return self.read(kept, answer).await;
        }
        let mut fresh = self.connect(&host, uri.port_u16().unwrap_or(443)).await?;
        let answer = fresh.send_request(request(body)?).await.map_err(|error| error.to_string())?;
        self.read(fresh, answer).await
    }

    async fn read(
        &self,
        sender: Sender,
        answer: http::Response<hyper::body::Incoming>,
    ) -> Result<(u16, Bytes), String> {
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        let mut idle = self.inner.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
        Ok((code, body))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<Sender, String> {
        let name = self.inner.remote.server_name.clone().unwrap_or_else(|| host.to_owned());
        let name = ServerName::try_from(name).map_err(|_name| format!("{host:?} is no host name"))?;
        let tls = self.tls()?;
        let tcp = TcpStream::connect((host, port)).await;
        let tcp = tcp.map_err(|error| format!("dial tcp {host}:{port}: {error}"))?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let tls = TlsConnector::from(tls).connect(name, tcp).await;
        let tls = tls.map_err(|error| format!("tls: {error}"))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(tls)).await.map_err(|error| error.to_string())?;
        let stop = self.inner.tasks.token();
        self.inner.tasks.spawn("outbound-connection", async move {
            // Calls that are under way when the server ends (the last audit events) have their own deadlines.
            let grace = async {
                stop.cancelled().await;
                tokio::time::sleep(Duration::from_secs(5)).await;
            };
            tokio::select! {
                biased;
                () = grace => {}
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "an outbound connection ended");
                    }
                }
            }
        });
        Ok(sender)
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let mut held = self.inner.tls.lock();
        if let Some(tls) = &*held {
            return Ok(Arc::clone(tls));
        }
        let tls = Arc::new(client_config(&self.inner.remote)?);
        *held = Some(Arc::clone(&tls));
        Ok(tls)
    }
}

/// The authorities that the machine trusts, read once.
pub(crate) fn machine_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

fn client_config(remote: &Remote) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &remote.ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("certificate authority: {error}"))?;
                roots.add(certificate).map_err(|error| format!("certificate authority: {error}"))?;
            }
        }
        None => roots = machine_roots().clone(),
    }
    if roots.is_empty() {
        return Err("tls: failed to verify certificate: no certificate authority is known".to_owned());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let Some(identity) = &remote.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(&identity.cert_pem).collect::<Result<_, _>>();
    let chain = chain.map_err(|error| format!("client certificate: {error}"))?;
    let key =
        PrivateKeyDer::from_pem_slice(&identity.key_pem).map_err(|error| format!("client key: {error}"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| format!("client certificate: {error}"))
}
