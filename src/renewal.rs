//! The certificates of a running server: renewed before they end, and handed to those who show them. No connection is dropped for it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_agents_controllers::Authority;
use mainstay_agents_kit::servers::{ServersError, renewing};
use mainstay_apiserver_server::config::PemPair;
use mainstay_base::lifecycle::{Clock, Tasks};
use mainstay_base::pki::{Leaf, facts};
use time::OffsetDateTime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::authority::Standing;
use crate::clients::{API_HOST, ApiEndpoint, settings};
use crate::config::Config;
use crate::identities::{Identities, Renew};
use crate::up::write_admin_kubeconfig;

/// The longest time between two looks; clocks may jump.
const LOOK_MAX: Duration = Duration::from_secs(3600);
/// The shortest.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// After an attempt that failed.
const AGAIN: Duration = Duration::from_secs(60);

/// The parts of a server that are clients of its API server, by the names that they go by.
const CLIENTS: [&str; 5] = ["kube-scheduler", "kube-controller-manager", "kube-proxy", "kubelet", "mainstay"];

/// Those of them that use any server of several, where this one runs pods.
const ANY_SERVER: [&str; 2] = ["kube-proxy", "kubelet"];

/// The certificates in use, each with the way to those who show it.
pub(crate) struct Shown {
    identities: Identities,
    serving: watch::Sender<PemPair>,
    kubelet_client: watch::Sender<PemPair>,
    front_proxy: watch::Sender<PemPair>,
    front_proxy_trusted: watch::Sender<String>,
    kubelet: watch::Sender<Leaf>,
    trusted: watch::Sender<String>,
    signing: watch::Sender<Authority>,
    standing: watch::Sender<Standing>,
    clients: Vec<(&'static str, watch::Sender<kube::Config>)>,
}

impl Shown {
    /// What is shown from the beginning.
    ///
    /// # Errors
    /// A certificate that cannot be used.
    pub(crate) async fn new(config: &Config, identities: &Identities) -> anyhow::Result<Self> {
        let mut clients = Vec::with_capacity(CLIENTS.len());
        for component in CLIENTS {
            let settings = client_settings(config, identities, component).await?;
            clients.push((component, watch::Sender::new(settings)));
        }
        Ok(Self {
            identities: identities.clone(),
            serving: watch::Sender::new(serving_pair(identities)),
            kubelet_client: watch::Sender::new(pem_pair(&identities.kubelet_client)),
            front_proxy: watch::Sender::new(pem_pair(&identities.front_proxy)),
            front_proxy_trusted: watch::Sender::new(identities.front_proxy_ca_pem.clone()),
            kubelet: watch::Sender::new(identities.kubelet_server.clone()),
            trusted: watch::Sender::new(identities.ca_pem.clone()),
            signing: watch::Sender::new(authority(config, identities)),
            standing: watch::Sender::new(identities.standing()?),
            clients,
        })
    }

    /// What the API server shows, with its authority: machines that join know that by its hash only.
    pub(crate) fn serving(&self) -> watch::Receiver<PemPair> {
        self.serving.subscribe()
    }

    /// What the API server shows to node agents.
    pub(crate) fn kubelet_client(&self) -> watch::Receiver<PemPair> {
        self.kubelet_client.subscribe()
    }

    /// What the API server shows to extension servers.
    pub(crate) fn front_proxy(&self) -> watch::Receiver<PemPair> {
        self.front_proxy.subscribe()
    }

    /// The authorities that extension servers are to trust, PEM.
    pub(crate) fn front_proxy_trusted(&self) -> watch::Receiver<String> {
        self.front_proxy_trusted.subscribe()
    }

    /// What the node agent's own server shows.
    pub(crate) fn kubelet(&self) -> watch::Receiver<Leaf> {
        self.kubelet.subscribe()
    }

    /// The authorities that are trusted, PEM.
    pub(crate) fn trusted(&self) -> watch::Receiver<String> {
        self.trusted.subscribe()
    }

    /// What signs requests for certificates.
    pub(crate) fn signing(&self) -> watch::Receiver<Authority> {
        self.signing.subscribe()
    }

    /// What all parts trust and show by now.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// A client with the certificate of one of the parts, whichever it is now.
    ///
    /// # Errors
    /// A certificate that cannot be used, or no such part.
    pub(crate) fn client(&self, component: &str) -> anyhow::Result<kube::Client> {
        let settings = self.settings(component)?;
        let make =
            |settings: &kube::Config| kube::Client::try_from(settings.clone()).map_err(ServersError::Client);
        renewing(settings, make).with_context(|| format!("making the API client of {component}"))
    }

    /// What the client of one of the parts is made of, whatever that is now.
    ///
    /// # Errors
    /// No such part.
    pub(crate) fn settings(&self, component: &str) -> anyhow::Result<watch::Receiver<kube::Config>> {
        let found = self.clients.iter().find(|(name, _)| *name == component);
        let (_, settings) = found.with_context(|| format!("finding the certificate of {component}"))?;
        Ok(settings.subscribe())
    }

    /// Hands over what has changed.
    async fn tell(&mut self, config: &Config, now: Identities) -> anyhow::Result<()> {
        let before = std::mem::replace(&mut self.identities, now);
        let now = &self.identities;
        let tell = |to: &watch::Sender<PemPair>, pair: PemPair| {
            to.send_if_modified(|shown| {
                let changed = *shown != pair;
                *shown = pair;
                changed
            })
        };
        let trusts_others = before.ca_pem != now.ca_pem;
        if trusts_others {
            self.trusted.send_replace(now.ca_pem.clone()); // before anything of theirs is shown
        }
        if before.signing.certificate_pem() != now.signing.certificate_pem() {
            self.signing.send_replace(authority(config, now));
        }
        if before.front_proxy_ca_pem != now.front_proxy_ca_pem {
            self.front_proxy_trusted.send_replace(now.front_proxy_ca_pem.clone());
        }
        tell(&self.serving, serving_pair(now));
        tell(&self.kubelet_client, pem_pair(&now.kubelet_client));
        tell(&self.front_proxy, pem_pair(&now.front_proxy));
        if before.kubelet_server.certificate_pem != now.kubelet_server.certificate_pem {
            self.kubelet.send_replace(now.kubelet_server.clone());
        }
        for (component, settings) in &self.clients {
            let is_new = leaf(&before, component).certificate_pem != leaf(now, component).certificate_pem;
            if is_new || trusts_others {
                settings.send_replace(client_settings(config, now, component).await?);
            }
        }
        write_admin_kubeconfig(config, now)?;
        let standing = now.standing()?;
        self.standing.send_if_modified(|told| {
            let changed = *told != standing;
            *told = standing;
            changed
        });
        Ok(())
    }
}

/// Renews what is due, everything when SIGHUP comes, and what `news` in the directory ask for, until `tasks` ends.
///
/// # Errors
/// The signal cannot be listened for.
pub(crate) fn run_renewal(
    mut shown: Shown,
    config: Config,
    mut news: watch::Receiver<()>,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let mut asked = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    let stop = tasks.token();
    tasks.spawn("certificates", async move {
        let mut pause = next_look(&shown.identities.leaves(), clock.wall());
        loop {
            let Some(renew) = wanted(&stop, &mut asked, changed(&mut news), pause).await else { return };
            let renewed = Identities::ensure(&config.data_dir, &config, clock.wall(), renew);
            let told = match renewed {
                Ok(identities) => shown.tell(&config, identities).await,
                Err(error) => Err(error),
            };
            pause = match told {
                Ok(()) => next_look(&shown.identities.leaves(), clock.wall()),
                Err(error) => {
                    warn!(
                        error = format!("{error:#}"),
                        "the certificates were not renewed; it is tried again"
                    );
                    AGAIN.min(next_look(&shown.identities.leaves(), clock.wall()))
                }
            };
            info!(next_look_seconds = pause.as_secs(), "the certificates were looked at");
        }
    });
    Ok(())
}

/// What to renew next: what is due after `pause` or at `news`, everything when SIGHUP comes before that; none once `stop` is.
pub(crate) async fn wanted(
    stop: &CancellationToken,
    asked: &mut Signal,
    news: impl Future<Output = ()>,
    pause: Duration,
) -> Option<Renew> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        signal = asked.recv() => Some(signal.map_or(Renew::Due, |()| Renew::All)),
        () = news => Some(Renew::Due),
        () = tokio::time::sleep(pause) => Some(Renew::Due),
    }
}

/// Resolves at the next change; never if nobody tells any more.
pub(crate) async fn changed<T>(news: &mut watch::Receiver<T>) {
    if news.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// How long until the first of these certificates is due.
pub(crate) fn next_look(leaves: &[&Leaf], now: OffsetDateTime) -> Duration {
    let due =
        leaves.iter().filter_map(|leaf| facts(&leaf.certificate_pem).ok()).map(|facts| facts.renewed_at());
    let left = due.min().map_or(LOOK_MAX, |due| Duration::try_from(due - now).unwrap_or(LOOK_MIN));
    left.clamp(LOOK_MIN, LOOK_MAX)
}

fn leaf<'a>(identities: &'a Identities, component: &str) -> &'a Leaf {
    match component {
        "kube-scheduler" => &identities.scheduler,
        "kube-controller-manager" => &identities.controllers,
        "kube-proxy" => &identities.proxy,
        "kubelet" => &identities.node,
        _ => &identities.admin,
    }
}

async fn client_settings(
    config: &Config,
    identities: &Identities,
    component: &str,
) -> anyhow::Result<kube::Config> {
    let runs_pods = config.member.as_ref().is_some_and(|member| member.runs_agent);
    let goes_to_any = runs_pods && ANY_SERVER.contains(&component);
    let url = if goes_to_any { API_HOST.to_owned() } else { config.api_url() };
    let endpoint = ApiEndpoint { url: &url, ca_pem: &identities.ca_pem };
    settings(&endpoint, component, leaf(identities, component)).await
}

fn authority(config: &Config, identities: &Identities) -> Authority {
    Authority {
        certificate_pem: identities.signing.certificate_pem().to_owned(),
        key_pem: identities.signing.key_pem().to_owned(),
        lifetime: config.certificate_lifetime,
    }
}

/// A certificate and its key as the API server takes them.
pub(crate) fn pem_pair(leaf: &Leaf) -> PemPair {
    PemPair {
        cert_pem: leaf.certificate_pem.clone().into_bytes(),
        key_pem: leaf.key_pem.clone().into_bytes(),
    }
}

fn serving_pair(identities: &Identities) -> PemPair {
    let leaf = pem_pair(&identities.apiserver);
    PemPair { cert_pem: [leaf.cert_pem.as_slice(), identities.ca_pem.as_bytes()].concat(), ..leaf }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_base::pki::{Ca, LeafRequest, Usage};

    #[test]
    fn the_next_look_is_when_the_first_one_is_due() {
        let now = OffsetDateTime::from_unix_timestamp(1_764_000_000).unwrap();
        let ca = Ca::generate("ca", now, Duration::from_secs(86_400 * 3650)).unwrap();
        let lasting = |seconds| {
            let request = LeafRequest {
                common_name: "a".to_owned(),
                organization: None,
                names: Vec::new(),
                usage: Usage::Client,
                validity: Duration::from_secs(seconds),
            };
            ca.issue(&request, now).unwrap()
        };
        let (minute, year) = (lasting(60), lasting(365 * 86_400));
        assert_eq!(next_look(&[&year, &minute], now), Duration::from_secs(45));
        assert_eq!(next_look(&[&minute], now + Duration::from_secs(50)), LOOK_MIN, "it is late");
        assert_eq!(next_look(&[&year], now), LOOK_MAX);
        assert_eq!(next_look(&[], now), LOOK_MAX);
    }
}
