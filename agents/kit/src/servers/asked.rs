//! Questions to one server: is it ready?
//!
//! A server of this process is asked without a connection; now and then it is asked over one all the same, because it is connections that its
//! callers need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;

use super::{Servers, ServersError};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_millis(500);
const READY: &str = "/readyz";
/// So many questions in a row are asked within the process.
const INSIDE_MAX: u32 = 9;

/// One that is not ready is asked again after this, then ever later: where a leader is elected, its successor is ready within moments.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_AFTER_MAX: Duration = Duration::from_millis(500);

/// Asks the API server of this process whether it is ready.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// A server that is asked whether it is ready, over a connection of its own.
pub(super) struct Asked {
    pub(super) server: SocketAddr,
    client: kube::Client,
    readiness: Option<Readiness>,
    /// How often it was asked without the connection since it was last asked over it.
    inside: u32,
}

impl Asked {
    pub(super) fn new(
        settings: &watch::Receiver<kube::Config>,
        server: SocketAddr,
    ) -> Result<Self, ServersError> {
        let client = Servers::beginning_with(server, vec![server]).renewing_client(settings)?;
        Ok(Self { server, client, readiness: None, inside: 0 })
    }

    /// The server is of this process, where there is something to ask.
    pub(super) fn in_this_process(self, readiness: Option<Readiness>) -> Self {
        Self { readiness, ..self }
    }

    pub(super) async fn is_ready(&mut self) -> bool {
        self.says().await == Some(true)
    }

    /// Asks over the connection, as somebody does who looks for a server that can be reached.
    async fn until_ready(&mut self) -> SocketAddr {
        let mut after = AGAIN_AFTER;
        loop {
            self.inside = INSIDE_MAX;
            if self.is_ready().await {
                return self.server;
            }
            tokio::time::sleep(after).await;
            after = AGAIN_AFTER_MAX.min(after * 2);
        }
    }

    /// Whether it is ready; nothing if it does not answer.
    pub(super) async fn says(&mut self) -> Option<bool> {
        if let Some(readiness) = self.readiness.as_ref().filter(|_| self.inside < INSIDE_MAX) {
            self.inside += 1;
            return tokio::time::timeout(ANSWER_MAX, readiness()).await.ok();
        }
        self.inside = 0;
        let request = http::Request::get(READY).body(Vec::new()).ok()?;
        match tokio::time::timeout(ANSWER_MAX, self.client.request_text(request)).await {
            Ok(Ok(_text)) => Some(true),
            Ok(Err(kube::Error::Api(_refusal))) => Some(false),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

/// Of these servers the first that says it is ready, as soon as one does; of none, none. Each is asked on its own, so one that is silent holds up nobody.
pub(super) async fn first_ready(servers: impl IntoIterator<Item = &mut Asked>) -> Option<SocketAddr> {
    servers.into_iter().map(Asked::until_ready).collect::<FuturesUnordered<_>>().next().await
}
