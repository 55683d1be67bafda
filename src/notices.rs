//! What the service manager of the machine is told: ready, stopping, still alive (sd_notify(3)). Without one, nothing.

use std::time::Duration;

use mainstay_base::lifecycle::Tasks;
use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tracing::warn;

/// The daemon serves; and from now on, as long as `alive` says so, it lives.
///
/// A daemon whose `alive` does not come true within the watchdog's time is killed and started again.
pub(crate) fn ready<A: Future<Output = bool> + Send>(
    tasks: &Tasks,
    alive: impl Fn() -> A + Send + Sync + 'static,
) {
    tell(&[NotifyState::Ready]);
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let stop = tasks.token();
    tasks.spawn("watchdog", async move {
        let mut ticks = tokio::time::interval(period(limit));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return anyhow::Ok(()),
                _ = ticks.tick() => {}
            }
            match tokio::time::timeout(limit, alive()).await {
                Ok(true) => tell(&[NotifyState::Watchdog]),
                Ok(false) | Err(_) => {
                    warn!("this daemon does not answer itself; the service manager may end it");
                }
            }
        }
    });
}

/// The daemon ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Twice within the limit, as sd_watchdog_enabled(3) recommends.
fn period(limit: Duration) -> Duration {
    (limit / 2).max(Duration::from_millis(1))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager was not told");
    }
}
