//! The certificates of a running worker: asked for anew before they end, and handed to those who show them. No connection is dropped.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use mainstay_agents_kit::informer::{Filter, Progress, Reader, start};
use mainstay_base::lifecycle::{Clock, Tasks};
use mainstay_base::pki::{Leaf, facts, issuer, pins};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::agent_files::{CA, KUBELET, NODE, read_leaf, write_leaf};
use crate::authority::{STAGE, STAGE_KEY, Standing, TRUST, Trust};
use crate::clients::{ApiEndpoint, settings};
use crate::data_dir::{DataDir, write_atomically};
use crate::identities::Renew;
use crate::join;
use crate::refusal::{is_refusal, refuse};
use crate::renewal::{changed, next_look, wanted};

/// How long the servers may take to answer one request for a certificate.
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// After an attempt that failed, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(600);
const COMPONENT: &str = "kubelet";

/// A worker's two certificates.
pub(crate) struct AgentRenewal {
    pub(crate) dir: Arc<DataDir>,
    pub(crate) node_name: String,
    pub(crate) node_ip: IpAddr,
    /// The host in the URL of every API server.
    pub(crate) url: &'static str,
    /// The authorities that are trusted, PEM.
    trusted: watch::Sender<String>,
    /// The stage that an exchange of the authority is in, as it was seen last; empty if there never was one.
    stage: String,
    /// What the servers were told last.
    told: Option<Standing>,
    identity: Leaf,
    serving: Leaf,
    settings: watch::Sender<kube::Config>,
    shown: watch::Sender<Leaf>,
}

impl AgentRenewal {
    /// Begins with what the data directory holds.
    ///
    /// # Errors
    /// Files that cannot be read or used.
    pub(crate) async fn new(
        dir: Arc<DataDir>,
        node: (String, IpAddr),
        (url, ca_pem): (&'static str, String),
    ) -> anyhow::Result<Self> {
        let (identity, serving) = (read_leaf(&dir, NODE)?, read_leaf(&dir, KUBELET)?);
        let endpoint = ApiEndpoint { url, ca_pem: &ca_pem };
        let settings = watch::Sender::new(settings(&endpoint, COMPONENT, &identity).await?);
        let shown = watch::Sender::new(serving.clone());
        let (node_name, node_ip) = node;
        let trusted = watch::Sender::new(ca_pem);
        let (told, stage) = (None, String::new());
        Ok(Self { dir, node_name, node_ip, url, trusted, stage, told, identity, serving, settings, shown })
    }

    /// What the node's clients are made of.
    pub(crate) fn settings(&self) -> watch::Receiver<kube::Config> {
        self.settings.subscribe()
    }

    /// What the node's own server shows.
    pub(crate) fn serving(&self) -> watch::Receiver<Leaf> {
        self.shown.subscribe()
    }

    /// The authorities that are trusted, PEM.
    pub(crate) fn trusted(&self) -> watch::Receiver<String> {
        self.trusted.subscribe()
    }

    /// What this node trusts and shows.
    fn standing(&self) -> anyhow::Result<Standing> {
        let trusted = self.trusted.borrow();
        let shows = [&self.identity, &self.serving].map(|leaf| issuer(&leaf.certificate_pem, &trusted));
        let shows = shows.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Standing::new(pins(&trusted)?, shows, None))
    }

    /// Tells the servers what this node trusts and shows, and trusts whom they tell it to. They are believed: they were reached
    /// by what is trusted so far. None where they are of a version that tells nothing.
    async fn trust(&mut self, client: &kube::Client) -> anyhow::Result<Option<Trust>> {
        let standing = self.standing()?;
        let body = serde_json::to_vec(&standing).context("telling what this node trusts")?;
        let request = http::Request::post(TRUST).header(http::header::CONTENT_TYPE, "application/json");
        let request = request.body(body).context("telling what this node trusts")?;
        let answered = tokio::time::timeout(ANSWER_MAX, client.request_text(request)).await;
        let trust: Trust = match answered.context("no server answers")? {
            Ok(text) => serde_json::from_str(&text).context("reading whom to trust")?,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 => return Err(refuse(status.message)),
            Err(error) => return Err(error).context("asking whom to trust"),
        };
        self.told = Some(standing);
        if *self.trusted.borrow() != trust.authorities {
            pins(&trust.authorities).context("reading whom to trust")?;
            write_atomically(&self.dir.join(CA), trust.authorities.as_bytes(), 0o644)?;
            self.trusted.send_replace(trust.authorities.clone());
            self.use_identity().await?;
            info!("the authorities that this node trusts have changed");
        }
        Ok(Some(trust))
    }

    /// The node's clients are made anew, of what it shows and trusts now.
    async fn use_identity(&self) -> anyhow::Result<()> {
        let ca_pem = self.trusted.borrow().clone();
        let endpoint = ApiEndpoint { url: self.url, ca_pem: &ca_pem };
        self.settings.send_replace(settings(&endpoint, COMPONENT, &self.identity).await?);
        Ok(())
    }

    /// Renews what is due, or all, or is of another authority than it is to be, through `client`, which is the node itself.
    ///
    /// # Errors
    /// The servers do not answer, or refuse; or the disk's. What was renewed before that counts.
    async fn renew(
        &mut self,
        client: &kube::Client,
        now: OffsetDateTime,
        renew: Renew,
    ) -> anyhow::Result<()> {
        let trust = self.trust(client).await?;
        let signer = trust.as_ref().map(|trust| trust.signer.clone());
        let trusted = self.trusted.borrow().clone();
        let is_due = |leaf: &Leaf| {
            let is_of_another = signer.is_some() && issuer(&leaf.certificate_pem, &trusted)? != signer;
            anyhow::Ok(renew == Renew::All || is_of_another || facts(&leaf.certificate_pem)?.is_due(now))
        };
        if is_due(&self.identity)? {
            self.identity = self.ask(client, NODE, None).await?;
            self.use_identity().await?;
        }
        if is_due(&self.serving)? {
            self.serving = self.ask(client, KUBELET, Some(self.node_ip)).await?;
            self.shown.send_replace(self.serving.clone());
        }
        if signer.is_some() && self.told != Some(self.standing()?) {
            self.trust(client).await?;
        }
        for leaf in [&self.identity, &self.serving].into_iter().filter(|_| signer.is_some()) {
            let is_of_signer = issuer(&leaf.certificate_pem, &trusted)? == signer;
            anyhow::ensure!(
                is_of_signer,
                "the controllers sign with another authority than the servers tell"
            );
        }
        let behind = trust.is_some_and(|trust| !self.stage.is_empty() && trust.stage != self.stage);
        anyhow::ensure!(
            !behind,
            "the server that was asked is not at that stage of the exchange of the authority"
        );
        Ok(())
    }

    async fn ask(&self, client: &kube::Client, name: &str, serving: Option<IpAddr>) -> anyhow::Result<Leaf> {
        let asked = tokio::time::timeout(ANSWER_MAX, join::renew(client, &self.node_name, serving)).await;
        let leaf = asked.context("no server answers")??;
        write_leaf(&self.dir, name, &leaf)?;
        info!(name, "a certificate of this node was renewed");
        Ok(leaf)
    }

    /// Renews what is due now, and from now on until `tasks` ends; everything when SIGHUP comes.
    ///
    /// # Errors
    /// The signal cannot be listened for.
    pub(crate) async fn run(
        mut self,
        client: kube::Client,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> anyhow::Result<()> {
        let mut asked = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        // It tells when there is something to ask the servers for, and is not believed beyond that.
        let api = kube::Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
        let stages = start(tasks, Arc::clone(&clock), api, Filter::fields(format!("metadata.name={STAGE}")));
        let mut news = stages.changed();
        // A machine that was off for long shows new certificates from the beginning.
        let first = self.renew(&client, clock.wall(), Renew::Due).await;
        let mut pause = match first {
            Err(error) if is_refusal(&error) => return Err(error),
            first => self.pause(&*clock, first, AGAIN_FIRST),
        };
        let stop = tasks.token();
        tasks.spawn("certificates", async move {
            let mut again = AGAIN_FIRST;
            loop {
                let another = another_stage(&stages, &mut news, &mut self.stage);
                let Some(renew) = wanted(&stop, &mut asked, another, pause).await else { return };
                pause = self.step(&client, &*clock, renew, again).await;
                again = if pause == again { (again * 2).min(AGAIN_MAX) } else { AGAIN_FIRST };
            }
        });
        Ok(())
    }

    /// Renews, and tells how long to wait until the next look: `again` if it failed.
    async fn step(
        &mut self,
        client: &kube::Client,
        clock: &dyn Clock,
        renew: Renew,
        again: Duration,
    ) -> Duration {
        let renewed = self.renew(client, clock.wall(), renew).await;
        self.pause(clock, renewed, again)
    }

    fn pause(&self, clock: &dyn Clock, renewed: anyhow::Result<()>, again: Duration) -> Duration {
        match renewed {
            Ok(()) => next_look(&[&self.identity, &self.serving], clock.wall()),
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "the node's certificates were not renewed; it is tried again"
                );
                again
            }
        }
    }
}

/// Resolves when the cluster says that its authority is exchanged, or how far that is; `seen` is what it said last.
async fn another_stage(stages: &Reader<ConfigMap>, news: &mut watch::Receiver<Progress>, seen: &mut String) {
    loop {
        let said = stages.list().iter().find_map(|map| map.data.as_ref()?.get(STAGE_KEY).cloned());
        if let Some(said) = said.filter(|said| said != seen) {
            *seen = said;
            return;
        }
        changed(news).await;
    }
}
