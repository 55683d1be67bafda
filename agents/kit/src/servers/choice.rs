//! The servers that are known, the one in use, and the moves between them.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use mainstay_base::lifecycle::{Clock, Tasks};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::asked::{ASK_EVERY, Asked, Readiness, first_ready};
use super::connector::Connector;
use super::renewing;
use crate::informer::{Filter, start};

/// Connections to a server that was silent for so long are made anew when it is not any more: the kernel may not try again to send on the old
/// ones before as much time has passed once more.
const SILENT_MAX: Duration = Duration::from_secs(5);
/// Somebody else is looked for while the server in use takes so much longer than it should to say something.
const SLOW_AFTER: Duration = Duration::from_millis(250);
/// The log says that no server is ready when none was for so long: the time of an election passes without a word.
const NONE_READY_FOR: Duration = Duration::from_secs(1);
/// So often in a row the server at home says that it is ready before it is used again: one that comes and goes is left alone.
const HOME_IS_WELL: u32 = 10;
/// The slice that lists the API servers.
const SLICE: (&str, &str) = ("default", "kubernetes");

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// Nothing to choose from.
    #[error("no API server is known")]
    None,
    /// The client's settings cannot be used.
    #[error("making an API client")]
    Client(#[from] kube::Error),
}

/// The API servers of a cluster. Clones share the choice.
#[derive(Clone)]
pub struct Servers {
    shared: Arc<Mutex<Choice>>,
    known: Arc<watch::Sender<Vec<SocketAddr>>>,
}

struct Choice {
    known: Vec<SocketAddr>,
    /// The one that is used whenever it is ready; it is known whatever the cluster tells.
    home: Option<SocketAddr>,
    /// What that one says without a connection.
    readiness: Option<Readiness>,
    /// The one in use.
    current: SocketAddr,
    /// Cuts the connections to it.
    cut: CancellationToken,
}

impl Choice {
    fn use_server(&mut self, server: SocketAddr, why: &str) {
        if server != self.current {
            info!(%server, before = %self.current, why, "another API server is in use");
            self.current = server;
            self.cut_connections();
        }
    }

    fn cut_connections(&mut self) {
        std::mem::take(&mut self.cut).cancel();
    }

    fn after(&self, server: SocketAddr) -> SocketAddr {
        let at = self.known.iter().position(|known| *known == server).map_or(0, |at| at + 1);
        self.known.get(at).or_else(|| self.known.first()).copied().unwrap_or(server)
    }
}

impl Servers {
    /// Servers to choose from, the first one first.
    ///
    /// # Errors
    /// [`ServersError::None`] for an empty list.
    pub fn new(known: Vec<SocketAddr>) -> Result<Self, ServersError> {
        let current = *known.first().ok_or(ServersError::None)?;
        Ok(Self::beginning_with(current, known))
    }

    /// The server in use, by now the first one, is that of the caller's own process: others are used only while it is not ready, which
    /// `readiness` tells.
    pub fn at_home(self, readiness: Readiness) -> Self {
        let mut choice = self.shared.lock();
        (choice.home, choice.readiness) = (Some(choice.current), Some(readiness));
        drop(choice);
        self
    }

    pub(super) fn beginning_with(current: SocketAddr, known: Vec<SocketAddr>) -> Self {
        let (known_now, cut) = (known.clone(), CancellationToken::new());
        let choice = Choice { known: known_now, home: None, readiness: None, current, cut };
        Self { shared: Arc::new(Mutex::new(choice)), known: Arc::new(watch::Sender::new(known)) }
    }

    /// A client whose connections lead to the server in use. `config` names a host that every server's certificate has.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub fn client(&self, config: &kube::Config) -> Result<kube::Client, ServersError> {
        let https = config.rustls_https_connector_with_connector(Connector { servers: self.clone() })?;
        let client: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(https);
        let builder = ClientBuilder::new(client, config.default_namespace.clone());
        let builder = builder.with_layer(&config.extra_headers_layer()?);
        Ok(builder.with_layer(&config.base_uri_layer()).build())
    }

    /// As [`Servers::client`], of settings whose certificate may change: see [`renewing`].
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub fn renewing_client(
        &self,
        settings: &watch::Receiver<kube::Config>,
    ) -> Result<kube::Client, ServersError> {
        let servers = self.clone();
        renewing(settings.clone(), move |config| servers.client(config))
    }

    /// The servers that are known, now and from now on.
    pub fn news(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.known.subscribe()
    }

    /// The one in use now.
    pub fn server_in_use(&self) -> SocketAddr {
        self.shared.lock().current
    }

    pub(super) fn known(&self) -> Vec<SocketAddr> {
        self.shared.lock().known.clone()
    }

    pub(super) fn in_use(&self) -> (SocketAddr, CancellationToken) {
        let choice = self.shared.lock();
        (choice.current, choice.cut.clone())
    }

    /// Goes on to the next server if `server` is the one in use.
    pub(super) fn pass_over(&self, server: SocketAddr) {
        let mut choice = self.shared.lock();
        if choice.current == server {
            let next = choice.after(server);
            choice.use_server(next, "no connection");
        }
    }

    /// Takes in the list that the cluster tells; an empty one is not believed.
    fn learn(&self, mut told: Vec<SocketAddr>) {
        if told.is_empty() {
            return;
        }
        let mut choice = self.shared.lock();
        told.extend(choice.home);
        told.sort_unstable();
        told.dedup();
        let mut before = choice.known.clone();
        before.sort_unstable();
        if told == before {
            return;
        }
        info!(servers = ?told, "API servers of the cluster");
        choice.known.clone_from(&told);
        if !told.contains(&choice.current) {
            let first = choice.after(choice.current);
            choice.use_server(first, "the one in use is not listed any more");
        }
        drop(choice);
        self.known.send_replace(told);
    }

    /// Keeps the list fresh, and leaves a server that is not ready for one that is, until `tasks` ends. `settings` are of a user
    /// that may read the EndpointSlices of namespace `default`.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub fn watch_over(
        &self,
        settings: &watch::Receiver<kube::Config>,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<(), ServersError> {
        let api = kube::Api::<EndpointSlice>::namespaced(self.renewing_client(settings)?, SLICE.0);
        let slices =
            start(tasks, clock, api, Filter::labels(format!("kubernetes.io/service-name={}", SLICE.1)));
        let (servers, stop) = (self.clone(), tasks.token());
        tasks.spawn("list of API servers", async move {
            let mut changed = slices.changed();
            loop {
                servers.learn(slices.list().iter().flat_map(|slice| addresses(slice)).collect());
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    end = changed.changed() => if end.is_err() { return },
                }
            }
        });
        self.watch_over_known(settings, tasks);
        Ok(())
    }

    /// Leaves a server that is not ready for another known one that is, until `tasks` ends; the list stays as it is.
    pub fn watch_over_known(&self, settings: &watch::Receiver<kube::Config>, tasks: &Tasks) {
        let (servers, stop, settings) = (self.clone(), tasks.token(), settings.clone());
        tasks.spawn("health of API servers", async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Ok(()),
                ended = servers.ask_again_and_again(&settings) => ended,
            }
        });
    }

    async fn ask_again_and_again(
        &self,
        settings: &watch::Receiver<kube::Config>,
    ) -> Result<(), ServersError> {
        let mut asked = self.asked(settings, self.in_use().0)?;
        let home = self.shared.lock().home;
        // Before it is used again it must be reached, not only well.
        let mut home = home.map(|home| Asked::new(settings, home)).transpose()?;
        let (mut quiet, mut well_at_home) = (false, 0);
        let mut heard = Instant::now();
        loop {
            let current = self.in_use().0;
            if current != asked.server {
                asked = self.asked(settings, current)?;
                heard = Instant::now(); // all connections to it are new
            }
            let (said, other) = self.hear(settings, &mut asked).await?;
            if self.in_use().0 != asked.server {
                continue; // somebody else has left it meanwhile
            }
            if said.is_some() {
                if heard.elapsed() > SILENT_MAX {
                    info!(server = %asked.server, "the API server answers again: connecting anew");
                    self.shared.lock().cut_connections();
                }
                heard = Instant::now();
            }
            if said == Some(true) {
                quiet = false;
                let Some(home) = home.as_mut().filter(|home| home.server != current) else {
                    well_at_home = 0;
                    continue;
                };
                well_at_home = if home.is_ready().await { well_at_home + 1 } else { 0 };
                if well_at_home == HOME_IS_WELL {
                    self.shared.lock().use_server(home.server, "the one at home is ready again");
                }
                continue;
            }
            well_at_home = 0;
            if let Some(other) = other {
                self.shared.lock().use_server(other, "the one before is not ready");
                continue;
            }
            let mut news = self.news();
            let mut others = self.others(settings, asked.server)?;
            tokio::select! {
                found = first_ready(std::iter::once(&mut asked).chain(&mut others)) => {
                    if let Some(found) = found {
                        self.shared.lock().use_server(found, "the one before is not ready");
                    }
                }
                _ = news.changed() => {} // there are others to ask
                () = tokio::time::sleep(NONE_READY_FOR), if !quiet => {
                    warn!(server = %asked.server, "no API server is ready");
                    quiet = true; // once is enough
                }
            }
        }
    }

    /// What the server in use says next; where it is slow to, also another one that is ready: then no time is lost if it must be left.
    async fn hear(
        &self,
        settings: &watch::Receiver<kube::Config>,
        asked: &mut Asked,
    ) -> Result<(Option<bool>, Option<SocketAddr>), ServersError> {
        let server = asked.server;
        let mut says = pin!(asked.next_word());
        if let Ok(said) = tokio::time::timeout(ASK_EVERY + SLOW_AFTER, says.as_mut()).await {
            return Ok((said, None));
        }
        let mut others = self.others(settings, server)?;
        tokio::select! {
            biased;
            said = says.as_mut() => Ok((said, None)),
            other = first_ready(&mut others) => Ok((says.await, other)),
        }
    }

    /// For questions to a server in use.
    fn asked(
        &self,
        settings: &watch::Receiver<kube::Config>,
        server: SocketAddr,
    ) -> Result<Asked, ServersError> {
        let asked = Asked::new(settings, server)?;
        let choice = self.shared.lock();
        let readiness = choice.readiness.clone().filter(|_| choice.home == Some(server));
        Ok(asked.in_this_process(readiness))
    }

    /// For questions to all servers that are known but this one.
    fn others(
        &self,
        settings: &watch::Receiver<kube::Config>,
        not: SocketAddr,
    ) -> Result<Vec<Asked>, ServersError> {
        let others = self.known().into_iter().filter(|server| *server != not);
        others.map(|server| Asked::new(settings, server)).collect()
    }
}

fn addresses(slice: &EndpointSlice) -> Vec<SocketAddr> {
    let port = slice.ports.iter().flatten().find(|port| port.name.as_deref() == Some("https"));
    let port = port.and_then(|port| u16::try_from(port.port?).ok());
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
    });
    let ips = ready.flat_map(|endpoint| &endpoint.addresses).filter_map(|ip| ip.parse().ok());
    ips.filter_map(|ip| Some(SocketAddr::new(ip, port?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(ports: &[u16]) -> Servers {
        Servers::new(ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()).unwrap()
    }

    #[test]
    fn a_server_that_fails_is_left_once_and_its_connections_are_cut() {
        let servers = servers(&[1, 2, 3]);
        let (first, cut) = servers.in_use();
        servers.pass_over(first);
        assert!(cut.is_cancelled());
        let (second, _) = servers.in_use();
        assert_eq!(second.port(), 2);
        servers.pass_over(first); // somebody else noticed as well
        assert_eq!(servers.in_use().0, second);
        servers.pass_over(second);
        servers.pass_over(servers.in_use().0);
        assert_eq!(servers.in_use().0.port(), 1, "around");
    }

    #[test]
    fn the_server_at_home_stays_known_when_the_cluster_does_not_list_it() {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let servers = servers(&[1]).at_home(Arc::new(|| Box::pin(async { true })));
        let (home, cut) = servers.in_use();
        servers.learn(vec![at(3), at(2)]);
        assert_eq!(servers.known(), [home, at(2), at(3)]);
        assert!(!cut.is_cancelled() && servers.in_use().0 == home, "it is not left for that");
        servers.pass_over(home);
        assert_eq!(servers.in_use().0, at(2));
    }

    #[test]
    fn the_list_is_taken_in_and_a_server_that_is_gone_is_left() {
        let servers = servers(&[1]);
        let (first, cut) = servers.in_use();
        servers.learn(Vec::new());
        assert_eq!(servers.known(), [first], "an empty list is not believed");
        let told: Vec<SocketAddr> = [2, 1].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).to_vec();
        servers.learn(told);
        assert!(!cut.is_cancelled() && servers.in_use().0 == first);
        assert_eq!(servers.news().borrow().len(), 2);
        servers.learn(vec![SocketAddr::from(([127, 0, 0, 1], 2))]);
        assert!(cut.is_cancelled());
        assert_eq!(servers.in_use().0.port(), 2);
    }
}
