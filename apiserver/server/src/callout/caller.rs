//! [`Caller`]: one POST to a webhook over TLS, within a deadline, with a bounded answer. Connections are kept per webhook.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mainstay_base::lifecycle::Tasks;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use smol_str::SmolStr;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::callee::{Callee, Place};
use super::service::service_address;
use crate::outbound::machine_roots;
use crate::registry::Registry;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Idle connections kept for one webhook.
const IDLE_MAX: usize = 4;
/// Hooks whose connections are kept; beyond it all are closed.
const HOOKS_MAX: usize = 256;

type Sender = SendRequest<Full<Bytes>>;

/// Why a webhook could not be asked; the text follows upstream's, such as `failed to call webhook: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The hook's place is none that can be called.
    #[error("{0}")]
    Place(String),
    /// The call failed.
    #[error("Post {url:?}: {why}")]
    Call {
        /// What was called.
        url: String,
        /// What happened.
        why: String,
    },
    /// The hook answered with another code than 200.
    #[error("the server responded with the status code {0} but did not return a usable answer")]
    Code(u16),
}

/// Calls hooks. Clones share connections.
#[derive(Clone)]
pub struct Caller {
    registry: Registry,
    tasks: Tasks,
    idle: Arc<Mutex<HashMap<SmolStr, Vec<Sender>>>>,
}

/// Where a hook is called.
struct Destination {
    /// The URL as errors show it.
    url: String,
    /// What to connect to.
    host: String,
    port: u16,
    /// Whose certificate is expected, and the `Host` header.
    name: String,
    path: String,
}

impl Caller {
    /// Calls with `registry` to find Services; connections run in `tasks`.
    pub fn new(registry: Registry, tasks: Tasks) -> Self {
        Self { registry, tasks, idle: Arc::default() }
    }

    /// The hook's answer to `body`.
    ///
    /// # Errors
    /// No answer within the hook's time, or none that is a 200.
    ///
    /// # Cancel safety
    /// A call that is dropped leaves nothing behind; the hook may have seen it.
    pub async fn post(&self, hook: &Callee, body: Vec<u8>) -> Result<Bytes, ClientError> {
        let destination = self.destination(hook)?;
        let failed = |why: String| ClientError::Call { url: destination.url.clone(), why };
        let call = self.exchange(hook, &destination, Bytes::from(body));
        match tokio::time::timeout(hook.timeout, call).await {
            Ok(Ok((code, _))) if code != 200 => Err(ClientError::Code(code)),
            Ok(Ok((_, answer))) => Ok(answer),
            Ok(Err(why)) => Err(failed(why)),
            Err(_elapsed) => Err(failed("context deadline exceeded".to_owned())),
        }
    }

    async fn exchange(&self, hook: &Callee, to: &Destination, body: Bytes) -> Result<(u16, Bytes), String> {
        let request = |body: Bytes| {
            Request::builder()
                .method(Method::POST)
                .uri(&to.path)
                .header(header::HOST, &to.name)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json")
                .header(header::USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")))
                .body(Full::new(body))
                .map_err(|error| error.to_string())
        };
        // A kept connection may have been closed meanwhile: then, and only then, is a fresh one tried.
        if let Some(mut kept) = self.kept(&hook.key)
            && kept.ready().await.is_ok()
            && let Ok(answer) = kept.send_request(request(body.clone())?).await
        {
            return self.read(hook, kept, answer).await;
        }
        let mut fresh = self.connect(hook, to).await?;
        let answer = fresh.send_request(request(body)?).await.map_err(|error| error.to_string())?;
        self.read(hook, fresh, answer).await
    }

    async fn read(
        &self,
        hook: &Callee,
        sender: Sender,
        answer: http::Response<hyper::body::Incoming>,
    ) -> Result<(u16, Bytes), String> {
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        self.keep(&hook.key, sender);
        Ok((code, body))
    }

    fn kept(&self, key: &SmolStr) -> Option<Sender> {
        self.idle.lock().get_mut(key)?.pop()
    }

    fn keep(&self, key: &SmolStr, sender: Sender) {
        let mut idle = self.idle.lock();
        if idle.len() >= HOOKS_MAX && !idle.contains_key(key) {
            // Keys carry the configuration's version, so old ones pile up.
            idle.clear();
        }
        let senders = idle.entry(key.clone()).or_default();
        if senders.len() < IDLE_MAX {
            senders.push(sender);
        }
    }

    async fn connect(&self, hook: &Callee, to: &Destination) -> Result<Sender, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&hook.ca_pem) {
            let certificate = certificate.map_err(|error| format!("caBundle: {error}"))?;
            roots.add(certificate).map_err(|error| format!("caBundle: {error}"))?;
        }
        if hook.ca_pem.is_empty() {
            // As upstream: without a bundle the machine's own authorities count.
            roots = machine_roots().clone();
        }
        if roots.is_empty() {
            return Err(
                "tls: failed to verify certificate: clientConfig.caBundle holds no certificate".to_owned()
            );
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(to.name.clone())
            .map_err(|_name| format!("{:?} is no host name", to.name))?;
        let tcp = TcpStream::connect((to.host.as_str(), to.port)).await;
        let tcp = tcp.map_err(|error| format!("dial tcp {}:{}: {error}", to.host, to.port))?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        let tls = tls.map_err(|error| format!("tls: {error}"))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(tls)).await.map_err(|error| error.to_string())?;
        let stop = self.tasks.token();
        self.tasks.spawn("webhook-connection", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection to a webhook ended");
                    }
                }
            }
        });
        Ok(sender)
    }

    fn destination(&self, hook: &Callee) -> Result<Destination, ClientError> {
        let seconds = hook.timeout.max(Duration::from_secs(1)).as_secs();
        match &hook.place {
            Place::Url(url) => of_url(url, seconds),
            Place::Service { namespace, name, path, port } => {
                self.of_service((namespace, name), path, *port, seconds)
            }
        }
    }

    /// A ready endpoint of the Service: the webhook's own name stays that of the Service.
    fn of_service(
        &self,
        (namespace, name): (&str, &str),
        path: &str,
        port: u16,
        seconds: u64,
    ) -> Result<Destination, ClientError> {
        let host = format!("{name}.{namespace}.svc");
        let path = format!("/{}?timeout={seconds}s", path.trim_start_matches('/'));
        let url = format!("https://{host}:{port}{path}");
        // Which endpoint matters little: a connection is kept and used again.
        let found = service_address(&self.registry, (namespace, name), port, path.len());
        let (at, at_port) = found.map_err(|why| ClientError::Call { url: url.clone(), why })?;
        Ok(Destination { url, host: at, port: at_port, name: host, path })
    }
}

fn of_url(url: &str, seconds: u64) -> Result<Destination, ClientError> {
    let bad = || ClientError::Place(format!("{url:?} is no URL of a webhook"));
    let uri: Uri = url.parse().map_err(|_parse| bad())?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(bad)?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let path = format!("{}?timeout={seconds}s", if uri.path().is_empty() { "/" } else { uri.path() });
    let url = format!("{}?timeout={seconds}s", url.trim_end_matches('/'));
    Ok(Destination { url, name: host.clone(), host, port: uri.port_u16().unwrap_or(443), path })
}
