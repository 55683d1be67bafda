//! The accept loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::connection;
use super::tls::Acceptor;
use crate::core::Core;

/// The address could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("listening on {addr}")]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// An open port that is not yet served: clients wait in its backlog.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
}

impl Listener {
    /// Takes the port.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let socket = TcpListener::bind(addr).await.map_err(|source| BindError { addr, source })?;
        let addr = socket.local_addr().map_err(|source| BindError { addr, source })?;
        Ok(Self { socket, addr })
    }

    /// The address, with the port that was picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until the server stops, then gives connections the grace period to end.
    pub async fn run(self, core: Arc<Core>, acceptor: Acceptor) {
        let mut connections: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = core.stop.cancelled() => break,
                accepted = self.socket.accept(), if connections.len() < core.limits.connections_max => match accepted {
                    Ok((stream, addr)) => {
                        connections.spawn(connection::serve(Arc::clone(&core), acceptor.clone(), stream, addr));
                    }
                    Err(error) => {
                        warn!(%error, "accepting a connection failed");
                        // Usually file descriptors ran out: let some connections end.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(ended) = connections.join_next() => if let Err(error) = ended {
                    warn!(%error, "a connection's task failed");
                },
            }
        }
        drop(self.socket);
        let open = connections.len();
        debug!(open, "draining connections");
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(core.limits.shutdown_grace, drained).await.is_err() {
            connections.shutdown().await;
        }
    }
}
