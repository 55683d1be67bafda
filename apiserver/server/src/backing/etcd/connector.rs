//! Opens connections: plain ones and TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::FollowedTls;

/// What is spoken through, however it is protected.
pub(super) trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

type Connected = io::Result<TokioIo<Box<dyn Pipe>>>;

/// Connects to what a URL names.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) tls: FollowedTls,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Pipe>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Connected> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = (uri.scheme_str() == Some("https")).then(|| TlsConnector::from(self.tls.current()));
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or_default())).await?;
            stream.set_nodelay(true)?;
            let Some(tls) = tls else { return Ok(TokioIo::new(Box::new(stream) as Box<dyn Pipe>)) };
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            Ok(TokioIo::new(Box::new(tls.connect(name, stream).await?) as Box<dyn Pipe>))
        })
    }
}
