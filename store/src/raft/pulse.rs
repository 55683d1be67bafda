//! Has openraft look at its timers only while something may be due. By itself it looks five times per heartbeat interval, on every member, and
//! almost always for nothing: that was most of what an idle store did.
//!
//! A leader's heartbeats are sent from here. Everybody else's timer stands still until just before the earliest moment at which openraft could
//! want an election, and from then on runs as ever: looks that nothing could have come of are left out, and no other. So it is openraft alone
//! that decides about elections, by its own random times. This must never be late: what it cannot tell, it leaves to the timer.
use std::sync::Arc;
use std::time::Duration;

use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use openraft::{Instant as _, RaftState};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::member::{Cluster, Member, Raft, shortest_wait_ms};
use super::types::{TypeConfig, is_only_voter};

/// The timer runs again so much of a heartbeat interval before an election could be due: more than openraft's time between two looks, which
/// is 13/64.
const AHEAD: u32 = 4;

/// What a member has to do by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Heartbeats.
    Leads,
    /// An election, once the leader has been silent for long enough.
    MayStand,
    /// One at once, whatever it has heard: nobody else has a vote.
    Alone,
}

/// openraft's timer goes on by itself when nobody looks after it any more.
struct Timer<'a>(&'a Raft);

impl Timer<'_> {
    fn run(&self, runs: bool) {
        self.0.runtime_config().tick(runs);
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.run(true);
    }
}

impl Member {
    /// Sends heartbeats while this member leads, and has openraft's timer run while an election may be due, until the store stops.
    pub(crate) async fn pulse(self, cluster: Arc<Cluster>) {
        let stop = self.stop.token().clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {} // the timer runs again
            () = self.beat(&cluster) => {}
        }
    }

    /// Returns when consensus has ended.
    async fn beat(&self, cluster: &Cluster) {
        let timer = Timer(&self.raft);
        let interval = cluster.heartbeat_interval;
        let quiet = Duration::from_millis(shortest_wait_ms(cluster)).saturating_sub(interval / AHEAD);
        let mut metrics = self.raft.server_metrics();
        let mut heartbeat = None;
        loop {
            let part = part(&metrics.borrow_and_update());
            let wake = match part {
                Part::Leads => {
                    timer.run(false);
                    let due = heartbeat.is_none_or(|due| Instant::now() >= due);
                    if due && self.raft.trigger().heartbeat().await.is_err() {
                        return;
                    }
                    let next = heartbeat.filter(|_| !due).unwrap_or_else(|| Instant::now() + interval);
                    heartbeat = Some(next);
                    next
                }
                Part::MayStand | Part::Alone => {
                    heartbeat = None;
                    let Some(heard) = look(&self.raft, RaftState::vote_last_modified).await else { return };
                    let left = heard.map_or(Duration::ZERO, |heard| quiet.saturating_sub(heard.elapsed()));
                    let is_due = part == Part::Alone || left.is_zero();
                    timer.run(is_due);
                    Instant::now() + if is_due { interval } else { left }
                }
            };
            tokio::select! {
                biased;
                // Membership, vote and leadership: what else an election depends on.
                changed = metrics.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }
}

/// What consensus says of its state; nothing if it has ended. The stop may come while it is asked, and consensus has nobody to answer then:
/// [`Raft::with_raft_state`] would log that as an error.
async fn look<V: Send + 'static>(
    raft: &Raft,
    at: impl FnOnce(&RaftState<TypeConfig>) -> V + Send + 'static,
) -> Option<V> {
    let (answer, answered) = oneshot::channel();
    let ask = move |state: &RaftState<TypeConfig>| match answer.send(at(state)) {
        Ok(()) => {}
        Err(_nobody_waits) => tracing::trace!("the store stops, and its pulse with it"),
    };
    raft.external_request(ask).await.ok()?;
    answered.await.ok()
}

fn part(metrics: &openraft::metrics::RaftServerMetrics<TypeConfig>) -> Part {
    let is_alone = is_only_voter(metrics.id, metrics.membership_config.membership().voter_ids());
    match metrics.state {
        state if state.is_leader() => Part::Leads,
        _ if is_alone => Part::Alone,
        _ => Part::MayStand,
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Waker};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;
    use crate::Store;
    use crate::api::Config;

    /// Counts what is logged as an error on this thread.
    struct Errors(Arc<AtomicUsize>);

    impl Subscriber for Errors {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::ERROR
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[tokio::test]
    async fn a_pulse_that_stops_while_it_asks_logs_no_error() {
        let errors = Arc::new(AtomicUsize::new(0));
        let _counts = tracing::subscriber::set_default(Errors(Arc::clone(&errors)));
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { dir: dir.path().to_path_buf(), disk_reserve_bytes: 0, sync: false, ..Config::default() };
        let store = Store::open(config).await.unwrap();
        let raft = &store.core().member.raft;
        {
            let asked = pin!(look(raft, |_| 5));
            assert!(
                asked.poll(&mut Context::from_waker(Waker::noop())).is_pending(),
                "consensus runs on this thread"
            );
        }
        // Consensus answers in turn.
        assert_eq!(look(raft, |_| 7).await, Some(7));
        assert_eq!(errors.load(Ordering::Relaxed), 0);
        store.close().await.unwrap();
    }
}
