//! The pods that wait for a node: ready to be tried, backing off, or unschedulable until something changes. Pure: time
//! is an argument.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mainstay_agents_kit::ObjectKey;
use tokio::time::Instant;

use crate::state::PodInfo;

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// After this long an unschedulable pod is tried again even if nothing changed.
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

/// A pod with the number of times it was tried.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) pod: Arc<PodInfo>,
    pub(crate) attempts: u32,
}

#[derive(Debug)]
enum Place {
    Active(u64),
    Backoff(Instant),
    Unschedulable { plugins: BTreeSet<&'static str>, backoff_until: Instant, flush_at: Instant },
}

#[derive(Debug)]
struct Entry {
    queued: Queued,
    place: Place,
}

/// Higher priority first, then first come first served.
type Turn = (Reverse<i32>, u64, ObjectKey);

#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: HashMap<ObjectKey, Entry>,
    active: BTreeSet<Turn>,
    timed: BTreeSet<(Instant, ObjectKey)>,
    arrivals: u64,
}

impl Queue {
    /// Adds a pending pod, or takes over its change. A change of what the pod asks for is worth another try, one of
    /// its status (which the scheduler itself writes) is not.
    pub(crate) fn upsert(&mut self, pod: Arc<PodInfo>, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&pod.key)
            && asks_the_same(&entry.queued.pod, &pod)
        {
            entry.queued.pod = pod;
            return;
        }
        let Some(entry) = self.take(&pod.key) else {
            return self.activate(Queued { pod, attempts: 0 });
        };
        let queued = Queued { pod, attempts: entry.queued.attempts };
        match entry.place {
            Place::Unschedulable { backoff_until, .. } if backoff_until <= now => self.activate(queued),
            Place::Backoff(until) | Place::Unschedulable { backoff_until: until, .. } => {
                self.delay(queued, until);
            }
            Place::Active(_) => self.activate(queued),
        }
    }

    /// The pod is gone, or has a node.
    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        drop(self.take(key));
    }

    /// The pod fits nowhere because of `plugins`.
    pub(crate) fn unschedulable(&mut self, queued: Queued, plugins: BTreeSet<&'static str>, now: Instant) {
        let backoff_until = now + backoff(queued.attempts);
        let flush_at = now + UNSCHEDULABLE_MAX;
        let key = queued.pod.key.clone();
        self.timed.insert((flush_at, key.clone()));
        let place = Place::Unschedulable { plugins, backoff_until, flush_at };
        self.entries.insert(key, Entry { queued, place });
    }

    /// The pod is worth another try after its backoff.
    pub(crate) fn retry(&mut self, queued: Queued, now: Instant) {
        let until = now + backoff(queued.attempts);
        self.delay(queued, until);
    }

    /// Something changed: pods rejected only by plugins for which `is_helped` holds are worth another try.
    pub(crate) fn wake(&mut self, is_helped: impl Fn(&'static str) -> bool, now: Instant) {
        let helped = |place: &Place| match place {
            // No plugin rejected it: there was no node at all.
            Place::Unschedulable { plugins, .. } => {
                plugins.is_empty() || plugins.iter().any(|plugin| is_helped(plugin))
            }
            Place::Active(_) | Place::Backoff(_) => false,
        };
        let woken: Vec<ObjectKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| helped(&entry.place))
            .map(|(key, _)| key.clone())
            .collect();
        for key in woken {
            let Some(Entry { queued, place: Place::Unschedulable { backoff_until, .. } }) = self.take(&key)
            else {
                continue;
            };
            if backoff_until <= now {
                self.activate(queued);
            } else {
                self.delay(queued, backoff_until);
            }
        }
    }

    /// The next pod to try, which counts as tried once more.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Queued> {
        self.promote(now);
        let (_, _, key) = self.active.first().cloned()?;
        let mut queued = self.take(&key)?.queued;
        queued.attempts = queued.attempts.saturating_add(1);
        Some(queued)
    }

    /// Whether a pod can be tried at `now`.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        !self.active.is_empty() || self.next_due().is_some_and(|due| due <= now)
    }

    /// When the next waiting pod is to be tried.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.timed.first().map(|(at, _)| *at)
    }

    /// The keys of all waiting pods.
    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.entries.keys().cloned().collect()
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, key)) = self.timed.first().cloned() {
            if at > now {
                return;
            }
            match self.take(&key) {
                Some(entry) => self.activate(entry.queued),
                None => drop(self.timed.remove(&(at, key))),
            }
        }
    }

    fn activate(&mut self, queued: Queued) {
        self.arrivals += 1;
        let key = queued.pod.key.clone();
        self.active.insert((Reverse(queued.pod.priority), self.arrivals, key.clone()));
        self.entries.insert(key, Entry { queued, place: Place::Active(self.arrivals) });
    }

    fn delay(&mut self, queued: Queued, until: Instant) {
        let key = queued.pod.key.clone();
        self.timed.insert((until, key.clone()));
        self.entries.insert(key, Entry { queued, place: Place::Backoff(until) });
    }

    fn take(&mut self, key: &ObjectKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        match &entry.place {
            Place::Active(arrival) => {
                self.active.remove(&(Reverse(entry.queued.pod.priority), *arrival, key.clone()))
            }
            Place::Backoff(at) | Place::Unschedulable { flush_at: at, .. } => {
                self.timed.remove(&(*at, key.clone()))
            }
        };
        Some(entry)
    }
}

fn asks_the_same(old: &PodInfo, new: &PodInfo) -> bool {
    let (old, new) = (&old.pod, &new.pod);
    old.metadata.uid == new.metadata.uid && old.metadata.labels == new.metadata.labels && old.spec == new.spec
}

fn backoff(attempts: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1).min(16))).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::Instant;

    use super::Queue;
    use crate::state::PodInfo;

    fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
        let pod = json!({
            "metadata": {"namespace": "default", "name": name},
            "spec": {"containers": [], "priority": priority},
        });
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    #[tokio::test(start_paused = true)]
    async fn higher_priority_goes_first_then_first_come_first_served() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0)] {
            queue.upsert(pod(name, priority), now);
        }
        let order: Vec<String> =
            std::iter::from_fn(|| queue.pop(now)).map(|queued| queued.pod.key.name.clone()).collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unschedulable_pod_waits_for_a_change_that_helps_and_for_its_backoff() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.upsert(pod("a", 0), now);
        let queued = queue.pop(now).unwrap();
        queue.unschedulable(queued, BTreeSet::from(["NodeResourcesFit"]), now);
        queue.wake(|plugin| plugin == "NodeAffinity", now);
        assert!(queue.pop(now + Duration::from_secs(2)).is_none());
        queue.wake(|plugin| plugin == "NodeResourcesFit", now);
        assert!(queue.pop(now).is_none(), "still backing off");
        assert_eq!(queue.pop(now + Duration::from_secs(1)).unwrap().attempts, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unschedulable_pod_is_tried_again_in_the_end() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.upsert(pod("a", 0), now);
        let queued = queue.pop(now).unwrap();
        queue.unschedulable(queued, BTreeSet::from(["NodeName"]), now);
        assert!(!queue.is_ready(now + Duration::from_secs(299)));
        assert!(queue.pop(now + Duration::from_secs(300)).is_some());
    }
}
