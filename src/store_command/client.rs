//! A connection to a server of etcd's API: plain or TLS.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::flags::StatusFlags;
use crate::refusal::refuse;

/// The longest wait for a connection, and for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a URL.
///
/// # Errors
/// Files that do not load, or a server that does not answer.
pub(crate) async fn connect(url: &str, flags: &StatusFlags) -> anyhow::Result<Channel> {
    let uri: Uri = url.parse().map_err(|error| refuse(format!("{url}: {error}")))?;
    let endpoint = Endpoint::from(uri.clone()).connect_timeout(TIMEOUT).timeout(TIMEOUT);
    let channel = match uri.scheme_str() {
        Some("http") => endpoint.connect().await,
        Some("https") => {
            // The connection is TLS below; what goes through it is spoken plainly.
            let connector = Tls { config: Arc::new(tls_config(flags)?) };
            endpoint.connect_with_connector(connector).await
        }
        _ => return Err(refuse(format!("{url} is neither http:// nor https://"))),
    };
    channel.with_context(|| format!("connecting to {url}"))
}

fn tls_config(flags: &StatusFlags) -> anyhow::Result<ClientConfig> {
    let Some(ca) = &flags.cacert else {
        return Err(refuse("https needs --cacert FILE: whose certificates are good"));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).with_context(|| format!("reading {}", ca.display()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choosing TLS versions")?
        .with_root_certificates(roots);
    let mut config = match (&flags.cert, &flags.key) {
        (Some(cert), Some(key)) => {
            let key =
                PrivateKeyDer::from_pem_file(key).with_context(|| format!("reading {}", key.display()))?;
            builder.with_client_auth_cert(certificates(cert)?, key).context("using the client certificate")?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let reading = || format!("reading {}", file.display());
    CertificateDer::pem_file_iter(file).with_context(reading)?.collect::<Result<_, _>>().with_context(reading)
}

/// Opens TLS connections.
#[derive(Clone)]
struct Tls {
    config: Arc<ClientConfig>,
}

type Connected = Result<TokioIo<TlsStream<TcpStream>>, io::Error>;

impl tower_service::Service<Uri> for Tls {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Connected> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Ok(TokioIo::new(connector.connect(name, stream).await?))
        })
    }
}
