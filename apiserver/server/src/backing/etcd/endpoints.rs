//! The servers of one store: the one that answered last is asked first, and the others when it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::config::{self, EtcdConfig, EtcdConfigError};
use super::connector::Connector;
use super::refusals::{Attempt, attempt};
use super::tls::FollowedTls;

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A silent server is pinged so often (etcd allows every 5 s), and given up if it does not answer.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes on their way to us, for one stream and one connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// How often all servers are tried, and the pause between.
const ROUNDS: usize = 2;
const PAUSE: Duration = Duration::from_millis(100);

/// Whether a call may be made again when it is unknown what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// A read.
    Always,
    /// A write.
    IfUndone,
}

/// The last answer that was no success, and whose it was.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) server: String,
    pub(super) status: Status,
}

/// A server. The connection is made when it is first needed, and anew when it broke.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) url: Arc<str>,
    pub(super) channel: Channel,
}

/// The servers.
#[derive(Debug)]
pub(super) struct Endpoints {
    servers: Vec<Server>,
    preferred: AtomicUsize,
}

impl Endpoints {
    pub(super) fn new(config: &EtcdConfig) -> Result<Self, EtcdConfigError> {
        let connector = Connector { tls: FollowedTls::load(&config.tls)? };
        let server = |uri: http::Uri| {
            let endpoint = Endpoint::from(uri.clone())
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            let channel = endpoint.connect_with_connector_lazy(connector.clone());
            Server { url: uri.to_string().trim_end_matches('/').into(), channel }
        };
        let servers = config::uris(&config.servers)?.into_iter().map(server).collect();
        Ok(Self { servers, preferred: AtomicUsize::new(0) })
    }

    /// The server to ask now.
    pub(super) fn preferred(&self) -> Option<Server> {
        let at = self.preferred.load(Ordering::Relaxed);
        self.servers.get(at.checked_rem(self.servers.len())?).cloned()
    }

    /// `server` did not answer: the next one is asked from now on, unless somebody has moved on already.
    pub(super) fn leave(&self, server: &Server) {
        let at = self.preferred.load(Ordering::Relaxed);
        if self.servers.get(at).is_some_and(|preferred| preferred.url == server.url) {
            let next = (at + 1).checked_rem(self.servers.len()).unwrap_or(0);
            // Whoever is faster moves on; both mean the same.
            let _moved = self.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Makes a call on one server after the other until one has answered; each has `timeout` to do so.
    pub(super) async fn call<T, F>(
        &self,
        repeat: Repeat,
        timeout: Duration,
        call: impl Fn(Channel) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut failed = Failed { server: String::new(), status: Status::unavailable("no server is known") };
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            for _server in &self.servers {
                let Some(server) = self.preferred() else { return Err(failed) };
                let answer = tokio::time::timeout(timeout, call(server.channel.clone())).await;
                let status = match answer {
                    Ok(Ok(answer)) => return Ok(answer.into_inner()),
                    Ok(Err(status)) => status,
                    Err(_elapsed) => Status::deadline_exceeded("no answer in time"),
                };
                let attempt = attempt(&status);
                failed = Failed { server: server.url.to_string(), status };
                if attempt == Attempt::Answered {
                    return Err(failed);
                }
                self.leave(&server);
                if attempt == Attempt::Unknown && repeat == Repeat::IfUndone {
                    return Err(failed);
                }
            }
        }
        Err(failed)
    }
}
