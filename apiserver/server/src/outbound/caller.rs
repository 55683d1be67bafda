//! [`Caller`]: one request to a [`Remote`], over connections that are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use mainstay_base::lifecycle::Tasks;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Remote;
use super::connection::{Peer, Sender, connect, exchange, trusting};

/// Idle connections kept.
const IDLE_MAX: usize = 4;

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
        let answer = self.send(&method, &url, body);
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(CallError { method: shown, url, why }),
            Err(_elapsed) => {
                Err(CallError { method: shown, url, why: "context deadline exceeded".to_owned() })
            }
        }
    }

    async fn send(&self, method: &Method, url: &str, body: Bytes) -> Result<(u16, Bytes), String> {
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
                .header(header::USER_AGENT, format!("mainstay/{}", mainstay_base::version()));
            if method == Method::POST {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
            if let Some(token) = &self.inner.remote.bearer_token {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            request.body(Full::new(body)).map_err(|error| error.to_string())
        };
        let inner = &*self.inner;
        let fresh = async {
            let name = inner.remote.server_name.as_deref().unwrap_or(&host);
            let peer = Peer { host: &host, port: uri.port_u16().unwrap_or(443), name };
            connect(&peer, self.tls()?, &inner.tasks).await
        };
        let kept = inner.idle.lock().pop();
        let (code, answer, sender) = exchange(kept, fresh, request, body).await?;
        let mut idle = inner.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(sender);
        }
        Ok((code, answer))
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

fn client_config(remote: &Remote) -> Result<ClientConfig, String> {
    let builder = trusting(remote.ca_pem.as_deref(), "certificate authority")?;
    let Some(identity) = &remote.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(&identity.cert_pem).collect::<Result<_, _>>();
    let chain = chain.map_err(|error| format!("client certificate: {error}"))?;
    let key =
        PrivateKeyDer::from_pem_slice(&identity.key_pem).map_err(|error| format!("client key: {error}"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| format!("client certificate: {error}"))
}
