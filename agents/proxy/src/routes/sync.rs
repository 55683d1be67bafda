//! The loop: observe the nodes, set what differs.

use std::time::Duration;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_base::lifecycle::{Backoff, Tasks};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::table::{RouteError, Table};
use super::{Routes, plan, wanted};

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Starts the loop under `tasks`, for the node of this name (or a machine that is none). Routes stay when it ends.
pub fn spawn(node_name: &str, cluster_cidr: Ipv4Net, informers: &Informers, tasks: &Tasks) {
    let sync = Sync {
        node_name: node_name.to_owned(),
        cluster_cidr,
        nodes: informers.reader(),
        applied: None,
        backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
    };
    tasks.spawn("routes", sync.run(tasks.token()));
}

struct Sync {
    node_name: String,
    cluster_cidr: Ipv4Net,
    nodes: Reader<Node>,
    /// What the kernel holds; `None` before the first look and after a failure.
    applied: Option<Routes>,
    backoff: Backoff,
}

impl Sync {
    async fn run(mut self, stop: CancellationToken) {
        let mut nodes = self.nodes.changed();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = self.nodes.synced() => {}
        }
        loop {
            nodes.borrow_and_update();
            let failed = self.apply_changes().await.err();
            if let Some(error) = &failed {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                warn!(%error, cause, "routes to other nodes are not up to date");
                self.applied = None;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = nodes.changed() => {}
                () = self.backoff.wait(), if failed.is_some() => {}
            }
        }
    }

    async fn apply_changes(&mut self) -> Result<(), RouteError> {
        let nodes = self.nodes.list();
        let wanted = wanted(nodes.iter().map(AsRef::as_ref), &self.node_name, self.cluster_cidr);
        if self.applied.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let table = Table::open()?;
        let present = table.present(self.cluster_cidr).await?;
        let (set, gone) = plan(&present, &wanted);
        for range in gone {
            if let Some(via) = present.get(&range) {
                table.unset(range, *via).await?;
                info!(%range, "no route any more");
            }
        }
        // One node that cannot be reached must not keep the others from their routes.
        let mut failed = None;
        for (range, via) in set {
            match table.set(range, via).await {
                Ok(()) => info!(%range, %via, "routed"),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.backoff.reset();
        self.applied = Some(wanted);
        Ok(())
    }
}
