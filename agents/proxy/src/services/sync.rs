//! The loop: observe Services and EndpointSlices, render, apply what changed.

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_base::lifecycle::{Backoff, Tasks};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::delta::{delta, needs_full_load};
use super::nft::{NftError, apply};
use super::observe::observe;
use super::render::render;
use super::ruleset::Ruleset;
use crate::Config;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Starts the loop under `tasks`.
pub fn spawn(config: &Config, informers: &Informers, tasks: &Tasks) {
    let sync = Sync {
        config: config.clone(),
        services: informers.reader(),
        slices: informers.reader(),
        applied: None,
        backoff: Backoff::new(RETRY_FIRST, RETRY_MAX),
    };
    tasks.spawn("services", sync.run(tasks.token()));
}

struct Sync {
    config: Config,
    services: Reader<Service>,
    slices: Reader<EndpointSlice>,
    /// What the kernel holds; `None` before the first load and after a failure.
    applied: Option<Ruleset>,
    backoff: Backoff,
}

impl Sync {
    async fn run(mut self, stop: CancellationToken) {
        let (mut services, mut slices) = (self.services.changed(), self.slices.changed());
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = async { self.services.synced().await; self.slices.synced().await } => {}
        }
        loop {
            services.borrow_and_update();
            slices.borrow_and_update();
            let retry = self.apply_changes().await.err();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = services.changed() => {}
                Ok(()) = slices.changed() => {}
                () = self.backoff.wait(), if retry.is_some() => {}
            }
        }
    }

    async fn apply_changes(&mut self) -> Result<(), NftError> {
        let world = observe(&self.services, &self.slices, &self.config.node_name);
        let wanted = render(&world, self.config.cluster_cidr);
        let table = &self.config.table;
        let transaction = match &self.applied {
            Some(applied) if !needs_full_load(applied, &wanted) => delta(table, applied, &wanted),
            _ => wanted.full_load(table),
        };
        if transaction.is_empty() {
            return Ok(());
        }
        let full = self.applied.is_none();
        match apply(&transaction).await {
            Ok(()) => {
                self.backoff.reset();
                if full {
                    info!(ports = world.ports.len(), "service rules loaded");
                } else {
                    debug!(bytes = transaction.len(), "service rules changed");
                }
                self.applied = Some(wanted);
                Ok(())
            }
            Err(error) => {
                warn!(%error, "service rules not applied, loading all of them again");
                self.applied = None;
                Err(error)
            }
        }
    }
}
