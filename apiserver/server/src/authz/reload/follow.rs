//! [`Reload`]: the task that follows the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::lifecycle::Clock;
use prometheus::Registry;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::changes::Changes;
use super::metrics::ReloadMetrics;
use crate::authz::webhook::{AuthorizationConfig, ConfigFile};
use crate::authz::{Authorizer, Link};

/// Between two looks that no change asked for, as upstream: network file systems tell nothing.
const PERIOD: Duration = Duration::from_secs(60);

/// Makes the links of a configuration, or says why it cannot.
type MakeChain = dyn Fn(&AuthorizationConfig) -> Result<Vec<Link>, String> + Send + Sync;

/// Follows a configuration's file.
pub(crate) struct Reload {
    path: PathBuf,
    /// What was read last, good or not.
    text: String,
    /// Types that a later file has to have too, as upstream.
    required: Vec<&'static str>,
    authorizer: Authorizer,
    make: Box<MakeChain>,
    metrics: ReloadMetrics,
    clock: Arc<dyn Clock>,
}

impl Reload {
    /// Follows `file`, whose configuration `first` is in force. `server` names this server in metrics.
    ///
    /// # Errors
    /// Metrics whose names are taken.
    pub(crate) fn new(
        (file, first): (&ConfigFile, &AuthorizationConfig),
        (authorizer, make): (Authorizer, Box<MakeChain>),
        (registry, server): (&Registry, &str),
        clock: Arc<dyn Clock>,
    ) -> Result<Self, prometheus::Error> {
        let metrics = ReloadMetrics::register(registry, server)?;
        metrics.in_force(&file.text);
        let (path, text, required) = (file.path.clone(), file.text.clone(), first.fixed_types());
        Ok(Self { path, text, required, authorizer, make, metrics, clock })
    }

    /// Follows until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), std::io::Error> {
        let folder = Changes::beside(&self.path)?;
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Both may be dropped: a change is still there to be seen, and a tick is only late.
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                changed = folder.next() => changed?,
                _ = period.tick() => {}
            }
            self.look().await;
        }
    }

    /// Reads the file, and follows it where it is new and good.
    async fn look(&mut self) {
        let read = tokio::fs::read_to_string(&self.path).await;
        let chain = match read {
            Ok(text) if text == self.text => return,
            Ok(text) => {
                self.text = text;
                self.chain()
            }
            Err(error) => Err(error.to_string()),
        };
        let path = self.path.display();
        self.metrics.read(chain.is_ok(), self.clock.wall());
        match chain {
            Ok(chain) => {
                self.authorizer.replace_chain(chain);
                self.metrics.in_force(&self.text);
                info!(%path, "the authorization configuration is read again");
            }
            Err(error) => warn!(%path, error, "the authorization configuration stays as it was"),
        }
    }

    fn chain(&self) -> Result<Vec<Link>, String> {
        let config = AuthorizationConfig::parse(&self.text, &|path| std::fs::read(path));
        let config = config.map_err(|error| error.to_string())?;
        let types = config.fixed_types();
        let missing: Vec<&str> =
            self.required.iter().copied().filter(|required| !types.contains(required)).collect();
        if missing.is_empty() {
            (self.make)(&config)
        } else {
            Err(format!("missing required types: [{}]", missing.join(" ")))
        }
    }
}
