//! [`Caller`]: one POST to a webhook over TLS, within a deadline, with a bounded answer. Connections are kept per webhook.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use mainstay_base::lifecycle::Tasks;
use parking_lot::Mutex;
use smol_str::SmolStr;

use super::callee::{Callee, Place};
use super::service::service_address;
use crate::outbound::{Peer, Sender, connect, exchange, trusting};
use crate::registry::Registry;

/// Idle connections kept for one webhook.
const IDLE_MAX: usize = 4;
/// Hooks whose connections are kept; beyond it all are closed.
const HOOKS_MAX: usize = 256;

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
        let call = self.send(hook, &destination, Bytes::from(body));
        match tokio::time::timeout(hook.timeout, call).await {
            Ok(Ok((code, _))) if code != 200 => Err(ClientError::Code(code)),
            Ok(Ok((_, answer))) => Ok(answer),
            Ok(Err(why)) => Err(failed(why)),
            Err(_elapsed) => Err(failed("context deadline exceeded".to_owned())),
        }
    }

    async fn send(&self, hook: &Callee, to: &Destination, body: Bytes) -> Result<(u16, Bytes), String> {
        let request = |body: Bytes| {
            Request::builder()
                .method(Method::POST)
                .uri(&to.path)
                .header(header::HOST, &to.name)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json")
                .header(header::USER_AGENT, format!("mainstay/{}", mainstay_base::version()))
                .body(Full::new(body))
                .map_err(|error| error.to_string())
        };
        let fresh = async {
            // As upstream: without a bundle the machine's own authorities count.
            let bundle = Some(hook.ca_pem.as_slice()).filter(|pem| !pem.is_empty());
            let tls = trusting(bundle, "caBundle")?.with_no_client_auth();
            let peer = Peer { host: &to.host, port: to.port, name: &to.name };
            connect(&peer, Arc::new(tls), &self.tasks).await
        };
        let (code, answer, sender) = exchange(self.kept(&hook.key), fresh, request, body).await?;
        self.keep(&hook.key, sender);
        Ok((code, answer))
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
