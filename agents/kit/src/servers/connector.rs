//! Opens connections to the server in use, whatever the URL says.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::Servers;
use super::guarded::Guarded;

/// A server that does not answer within this time is passed over.
const CONNECT_MAX: Duration = Duration::from_millis(700);

/// For hyper's client.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) servers: Servers,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Guarded>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _url: Uri) -> Self::Future {
        let servers = self.servers.clone();
        Box::pin(async move { servers.connect().await })
    }
}

impl Servers {
    /// A connection to the server in use; where none can be made, to the next one, which is then in use.
    async fn connect(&self) -> io::Result<TokioIo<Guarded>> {
        let mut failed = io::Error::other("there is no API server to connect to");
        for _attempt in 0..self.known().len() {
            let (address, cut) = self.in_use();
            match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(Guarded::new(stream, cut)));
                }
                Ok(Err(error)) => failed = error,
                Err(_elapsed) => failed = io::Error::new(io::ErrorKind::TimedOut, "it does not answer"),
            }
            self.pass_over(address);
        }
        Err(failed)
    }
}
