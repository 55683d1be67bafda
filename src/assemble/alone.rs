//! A server that was started and does not find a majority of the others: it waits, and whoever asks it is told why (docs/decisions/0056).

use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_base::lifecycle::Tasks;
use mainstay_store::{ClusterError, Revision, Store};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Parts, end};
use crate::config::MemberSettings;
use crate::join::{other_servers, superseded};
use crate::renewal::Shown;
use crate::{membership, versions};

/// A server whose others run finds them within this time.
const QUORUM_USUAL: Duration = Duration::from_secs(3);
/// The revision of a store that nothing was written to.
const NOTHING_WRITTEN: Revision = Revision(1);
/// What a server does until it is one of a majority.
const WAITING: &str = "waiting for the other servers";

impl Parts<'_> {
    /// Waits until a majority of the servers answers, as long as it takes. Requests are refused meanwhile, with why; where an
    /// administrator allows stale reads, what this server has can be read.
    pub(super) async fn meet_others(&self, store: &Store, member: &MemberSettings) -> anyhow::Result<()> {
        let ready = store.ready();
        tokio::pin!(ready);
        let met = tokio::select! {
            biased;
            ready = &mut ready => ready,
            () = tokio::time::sleep(QUORUM_USUAL) => self.wait_alone(store, ready.as_mut()).await?,
        };
        met.context(WAITING)?;
        let url = membership::peer_url(self.config.node_ip, member.peer_bind.port());
        versions::check(store, &self.config.cluster.node_name).await?;
        membership::publish_address(store, &url).await
    }

    /// Why a start failed: where the store has stopped by itself meanwhile, whatever was asked of it at that moment failed, and what it says itself counts.
    pub(super) async fn why(&self, failed: anyhow::Error) -> anyhow::Error {
        let store = self.store.get().filter(|_| self.config.member.is_some());
        let Some(store) = store else { return failed };
        match store.members(false).await {
            Err(why @ ClusterError::Halted(_)) => {
                superseded(why, other_servers(&store.known_members(), store.member_id())).context(WAITING)
            }
            _ => failed,
        }
    }

    async fn wait_alone<R>(
        &self,
        store: &Store,
        mut ready: Pin<&mut impl Future<Output = R>>,
    ) -> anyhow::Result<R> {
        let alone = Tasks::new("API server without a quorum", self.api_tasks.token().child_token());
        let ready = tokio::select! {
            biased;
            ready = ready.as_mut() => Ok(ready),
            served = Box::pin(self.serve_alone(store, &alone)) => match served {
                Ok(()) => Ok(ready.await),
                Err(error) => Err(error),
            },
        };
        end(&[&alone]).await;
        ready
    }

    /// Answers who asks this server while it waits for the others: with refusals for want of a quorum, or with what it has.
    async fn serve_alone(&self, store: &Store, tasks: &Tasks) -> anyhow::Result<()> {
        let members = store.members(false).await.context("reading the servers of the cluster")?;
        let own = store.member_id();
        let others = members.iter().filter(|member| member.id != own);
        let mut others: Vec<String> =
            others.map(|other| format!("{} at {}", other.name, other.peer_urls.join(","))).collect();
        others.sort_unstable();
        warn!(
            others = others.join(", "),
            "too few servers of the cluster answer: this one waits for a majority, and answers 503 meanwhile. Start the others. If they are \
             lost for good: `mainstay server recover`. To read what this one has: `mainstay server allow-stale`"
        );
        let status = store.status().await.context("looking what this server has")?;
        if status.revision <= NOTHING_WRITTEN {
            return Ok(()); // it has just joined: there are no rights to go by
        }
        let shown = Shown::new(self.config, self.identities).await?;
        let config = self.server_config(store, &shown, watch::channel(None).1)?;
        let started = mainstay_apiserver_server::start_stale(config, store.clone(), tasks.clone()).await;
        let api = started.context("starting the API server without a quorum")?;
        info!(address = %api.local_addr(), "requests are answered without a quorum, with refusals or stale reads");
        Ok(())
    }
}
