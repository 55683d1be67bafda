//! The certificates of a running worker: asked for anew before they end, and handed to those who show them. No connection is dropped.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_base::lifecycle::{Clock, Tasks};
use mainstay_base::pki::{Leaf, facts};
use time::OffsetDateTime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::agent_files::{KUBELET, NODE, read_leaf, write_leaf};
use crate::clients::{ApiEndpoint, settings};
use crate::data_dir::DataDir;
use crate::identities::Renew;
use crate::join;
use crate::renewal::{next_look, wanted};

/// How long the servers may take to answer one request for a certificate.
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// After an attempt that failed, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_MAX: Duration = Duration::from_secs(600);
const COMPONENT: &str = "kubelet";

/// A worker's two certificates.
pub(crate) struct AgentRenewal {
    pub(crate) dir: Arc<DataDir>,
    pub(crate) node_name: String,
    pub(crate) node_ip: IpAddr,
    /// The host in the URL of every API server.
    pub(crate) url: &'static str,
    pub(crate) ca_pem: String,
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
        Ok(Self { dir, node_name, node_ip, url, ca_pem, identity, serving, settings, shown })
    }

    /// What the node's clients are made of.
    pub(crate) fn settings(&self) -> watch::Receiver<kube::Config> {
        self.settings.subscribe()
    }

    /// What the node's own server shows.
    pub(crate) fn serving(&self) -> watch::Receiver<Leaf> {
        self.shown.subscribe()
    }

    /// Renews what is due, or all, through `client`, which is the node itself.
    ///
    /// # Errors
    /// The servers do not answer, or refuse; or the disk's. What was renewed before that counts.
    async fn renew(
        &mut self,
        client: &kube::Client,
        now: OffsetDateTime,
        renew: Renew,
    ) -> anyhow::Result<()> {
        let is_due =
            |leaf: &Leaf| anyhow::Ok(renew == Renew::All || facts(&leaf.certificate_pem)?.is_due(now));
        if is_due(&self.identity)? {
            let leaf = self.ask(client, NODE, None).await?;
            let endpoint = ApiEndpoint { url: self.url, ca_pem: &self.ca_pem };
            self.settings.send_replace(settings(&endpoint, COMPONENT, &leaf).await?);
            self.identity = leaf;
        }
        if is_due(&self.serving)? {
            self.serving = self.ask(client, KUBELET, Some(self.node_ip)).await?;
            self.shown.send_replace(self.serving.clone());
        }
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
        // A machine that was off for long shows new certificates from the beginning.
        let mut pause = self.step(&client, &*clock, Renew::Due, AGAIN_FIRST).await;
        let stop = tasks.token();
        tasks.spawn("certificates", async move {
            while let Some(renew) = wanted(&stop, &mut asked, pause).await {
                pause = self.step(&client, &*clock, renew, (pause * 2).clamp(AGAIN_FIRST, AGAIN_MAX)).await;
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
        match self.renew(client, clock.wall(), renew).await {
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
