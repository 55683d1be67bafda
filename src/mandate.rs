//! Which server's scheduler and controllers may act: that of the store's leader. Its members elect one anyhow, and tell it several times a second
//! that it still leads, so this costs an idle cluster nothing (docs/decisions/0045).

use std::time::Duration;

use mainstay_base::lifecycle::Tasks;
use mainstay_store::Store;
use tokio::sync::watch;

/// A leader that has heard nothing of a quorum for so long may have a successor, which begins a second after it was elected (`Timings::succession`).
const UNCONFIRMED_MAX: Duration = Duration::from_millis(750);
/// A leader that waits for a quorum looks again after this.
const AGAIN: Duration = Duration::from_millis(50);

/// Whether this server's loops may act, now and from now on.
pub(crate) fn follow(store: &Store, tasks: &Tasks) -> watch::Receiver<bool> {
    let (given, mandate) = watch::channel(false);
    let (store, stop) = (store.clone(), tasks.token());
    tasks.spawn("mandate", async move {
        let mut leadership = store.leadership();
        let follow = async {
            loop {
                leadership.borrow_and_update();
                let (may_act, again) = decide(store.leadership_confirmed_ago());
                given.send_if_modified(|given| std::mem::replace(given, may_act) != may_act);
                let look = async {
                    match again {
                        Some(again) => tokio::time::sleep(again).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    changed = leadership.changed() => if changed.is_err() { return },
                    () = look => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {} // loops end by the same stop
            () = follow => drop(given.send_replace(false)),
        }
    });
    mandate
}

/// Whether a server may act whose store was confirmed to lead so long ago, and when to look again if nothing else happens.
fn decide(confirmed_ago: Option<Duration>) -> (bool, Option<Duration>) {
    match confirmed_ago.map(|ago| UNCONFIRMED_MAX.saturating_sub(ago)) {
        None => (false, None),
        Some(Duration::ZERO) => (false, Some(AGAIN)),
        Some(left) => (true, Some(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_acts_for_as_long_as_a_quorum_has_confirmed_it() {
        let ms = Duration::from_millis;
        assert_eq!(decide(None), (false, None), "it does not lead");
        assert_eq!(decide(Some(ms(100))), (true, Some(ms(650))));
        assert_eq!(decide(Some(ms(749))), (true, Some(ms(1))));
        assert_eq!(decide(Some(ms(750))), (false, Some(ms(50))), "it is cut off");
        assert_eq!(decide(Some(Duration::MAX)), (false, Some(ms(50))), "it has just been elected");
    }
}
