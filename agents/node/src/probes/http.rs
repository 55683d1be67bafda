//! One HTTP request to a container, for probes and lifecycle hooks. Certificates are not checked, as upstream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;

/// As much of an answer as is read.
const BODY_BYTES_MAX: usize = 10 * 1024;
const REDIRECTS_MAX: usize = 10;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpAnswer {
    pub status: u16,
    pub body: String,
}

/// Asks `action` of `host` (the pod's address unless the action names one) and `port`.
pub(crate) async fn get(
    action: &HTTPGetAction,
    pod_ip: &str,
    port: u16,
    agent_name: &str,
    timeout: Duration,
) -> Result<HttpAnswer, String> {
    let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip).to_owned();
    let scheme = if action.scheme.as_deref() == Some("HTTPS") { "https" } else { "http" };
    let path = action.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let url = format!("{scheme}://{authority}{path}");
    let uri: Uri = url.parse().map_err(|e| format!("parsing {url:?}: {e}"))?;
    let ask = follow(action, uri, agent_name);
    match tokio::time::timeout(timeout, ask).await {
        Ok(answer) => answer.map_err(|e| format!("Get \"{url}\": {e}")),
        Err(_elapsed) => Err(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn follow(action: &HTTPGetAction, mut uri: Uri, agent_name: &str) -> Result<HttpAnswer, String> {
    for _ in 0..REDIRECTS_MAX {
        let (answer, location) = once(action, &uri, agent_name).await?;
        let Some(location) = location else { return Ok(answer) };
        let next = resolve(&uri, &location)?;
        // Another host is not this container: the answer so far counts.
        if next.host() != uri.host() {
            return Ok(answer);
        }
        uri = next;
    }
    Err(format!("stopped after {REDIRECTS_MAX} redirects"))
}

fn resolve(base: &Uri, location: &str) -> Result<Uri, String> {
    let absolute = if location.contains("://") {
        location.to_owned()
    } else {
        let scheme = base.scheme_str().unwrap_or("http");
        let authority = base.authority().map(ToString::to_string).unwrap_or_default();
        let slash = if location.starts_with('/') { "" } else { "/" };
        format!("{scheme}://{authority}{slash}{location}")
    };
    absolute.parse().map_err(|e| format!("parsing redirect {location:?}: {e}"))
}

async fn once(
    action: &HTTPGetAction,
    uri: &Uri,
    agent_name: &str,
) -> Result<(HttpAnswer, Option<String>), String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|e| format!("dial tcp {}: connect: {}", address(&host, port), go_error(&e)))?;
    let request = request(action, uri, agent_name)?;
    if https {
        let name = ServerName::try_from(host).map_err(|e| format!("server name: {e}"))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config()?));
        let tls = connector.connect(name, tcp).await.map_err(|e| format!("TLS handshake: {e}"))?;
        exchange(TokioIo::new(tls), request).await
    } else {
        exchange(TokioIo::new(tcp), request).await
    }
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The words that Go, and so every upstream message, uses for the usual failures.
pub(super) fn go_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        std::io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => error.to_string(),
    }
}

fn request(action: &HTTPGetAction, uri: &Uri, agent_name: &str) -> Result<Request<Empty<Bytes>>, String> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut request = Request::get(path).body(Empty::new()).map_err(|e| e.to_string())?;
    let headers = request.headers_mut();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|e| format!("header value {text:?}: {e}"));
    headers.insert(USER_AGENT, value(agent_name)?);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(HOST, value(uri.authority().map_or("", |a| a.as_str()))?);
    let mut replaced = std::collections::BTreeSet::new();
    for header in action.http_headers.iter().flatten() {
        let name: HeaderName = header.name.parse().map_err(|e| format!("header {:?}: {e}", header.name))?;
        // The first of a name replaces a default, further ones add to it.
        if replaced.insert(name.as_str().to_owned()) {
            headers.insert(name, value(&header.value)?);
        } else {
            headers.append(name, value(&header.value)?);
        }
    }
    Ok(request)
}

async fn exchange<T>(
    io: TokioIo<T>,
    request: Request<Empty<Bytes>>,
) -> Result<(HttpAnswer, Option<String>), String>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
    let ask = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status();
        let location = if status.is_redirection() {
            response.headers().get(http::header::LOCATION).and_then(|v| v.to_str().ok()).map(str::to_owned)
        } else {
            None
        };
        // A longer body is fine: only its beginning is shown.
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned()).unwrap_or_default();
        Ok((HttpAnswer { status: status.as_u16(), body }, location))
    };
    tokio::pin!(connection);
    tokio::pin!(ask);
    let mut open = true;
    loop {
        // Both are only polled here; the connection ends with this future.
        tokio::select! {
            biased;
            answer = &mut ask => return answer,
            ended = &mut connection, if open => {
                open = false;
                if let Err(error) = ended {
                    return Err(error.to_string());
                }
            }
        }
    }
}

fn client_config() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth())
}

/// Probes talk to whatever the container presents.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
