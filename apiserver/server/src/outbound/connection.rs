//! One exchange over TLS and HTTP/1.1 with a bounded answer, over a connection that was kept or a fresh one. What is called
//! and which connections are kept is the caller's matter.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mainstay_base::lifecycle::Tasks;
use mainstay_base::telemetry::trace;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Calls that are under way when the server ends (the last audit events) have their own deadlines, and at most this.
const GRACE: Duration = Duration::from_secs(5);

/// The way to send on a connection.
pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// The far end of a connection.
pub(crate) struct Peer<'a> {
    /// What to connect to.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Whose certificate is expected.
    pub(crate) name: &'a str,
}

/// The code and the body of an answer, and the connection for the next.
pub(crate) type Exchanged = (u16, Bytes, Sender);

/// Sends a request, made of `body`, over `kept`, or where that has been closed meanwhile over what `connect` opens.
///
/// # Errors
/// Texts in the style of Go's client.
pub(crate) async fn exchange(
    kept: Option<Sender>,
    connect: impl Future<Output = Result<Sender, String>>,
    request: impl Fn(Bytes) -> Result<Request<Full<Bytes>>, String>,
    body: Bytes,
) -> Result<Exchanged, String> {
    let request = |body: Bytes| request(body).map(telling);
    // A kept connection may have been closed meanwhile: then, and only then, is a fresh one tried.
    if let Some(mut kept) = kept
        && kept.ready().await.is_ok()
        && let Ok(answer) = kept.send_request(request(body.clone())?).await
    {
        return read(kept, answer).await;
    }
    let mut fresh = connect.await?;
    let answer = fresh.send_request(request(body)?).await.map_err(|error| error.to_string())?;
    read(fresh, answer).await
}

/// Says which trace the request is part of, if it is of any.
fn telling(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    for (name, value) in trace::outgoing().into_iter().flat_map(|(parent, state)| {
        [(HeaderName::from_static("traceparent"), parent), (HeaderName::from_static("tracestate"), state)]
    }) {
        // A state that is no header's value is not ours to mend.
        if let Ok(value) = HeaderValue::try_from(value)
            && !value.is_empty()
        {
            request.headers_mut().insert(name, value);
        }
    }
    request
}

async fn read(sender: Sender, answer: http::Response<hyper::body::Incoming>) -> Result<Exchanged, String> {
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok((code, body.map_err(|error| error.to_string())?.to_bytes(), sender))
}

/// Opens a connection, which runs in `tasks`.
///
/// # Errors
/// As [`exchange`].
pub(crate) async fn connect(
    peer: &Peer<'_>,
    tls: Arc<ClientConfig>,
    tasks: &Tasks,
) -> Result<Sender, String> {
    let Peer { host, port, name } = *peer;
    let name = ServerName::try_from(name.to_owned()).map_err(|_name| format!("{name:?} is no host name"))?;
    let tcp = TcpStream::connect((host, port)).await;
    let tcp = tcp.map_err(|error| format!("dial tcp {host}:{port}: {error}"))?;
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let tls = TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| format!("tls: {error}"))?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(tls)).await.map_err(|error| error.to_string())?;
    let stop = tasks.token();
    tasks.spawn("outbound-connection", async move {
        let grace = async {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
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

/// The beginning of a TLS configuration that trusts the authorities of `pem`, or the machine's own where there is none;
/// `what` names it in errors.
///
/// # Errors
/// A PEM that cannot be read or holds no authority.
pub(crate) fn trusting(
    pem: Option<&[u8]>,
    what: &str,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let roots = match pem {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("{what}: {error}"))?;
                roots.add(certificate).map_err(|error| format!("{what}: {error}"))?;
            }
            roots
        }
        None => machine_roots().clone(),
    };
    if roots.is_empty() {
        let what = pem.map_or("this machine", |_| what);
        return Err(format!("tls: failed to verify certificate: {what} holds no certificate"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(|error| error.to_string())?.with_root_certificates(roots))
}

/// The authorities that the machine trusts, read once.
fn machine_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}
