//! Which key runs next. Pure: time is an argument.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::ObjectKey;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do until something changes.
    Done,
    /// Run again after this long.
    After(Duration),
    /// Run again after a delay that doubles with each failure in a row.
    Failed,
}

/// A queue of distinct keys. A key never runs twice at the same time; one that is added while it runs, runs once more.
#[derive(Debug)]
pub struct WorkQueue {
    ready: VecDeque<ObjectKey>,
    queued: HashSet<ObjectKey>,
    running: HashSet<ObjectKey>,
    again: HashSet<ObjectKey>,
    delayed: BTreeSet<(Instant, ObjectKey)>,
    due: HashMap<ObjectKey, Instant>,
    failures: HashMap<ObjectKey, u32>,
    first: Duration,
    max: Duration,
}

impl WorkQueue {
    /// An empty queue whose failed keys wait `first`, doubled with each failure in a row up to `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            again: HashSet::new(),
            delayed: BTreeSet::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            first,
            max,
        }
    }

    /// Asks for a run of `key`.
    pub fn add(&mut self, key: ObjectKey) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// The next key to run at `now`; it counts as running until [`WorkQueue::done`].
    pub fn pop(&mut self, now: Instant) -> Option<ObjectKey> {
        while let Some((at, key)) = self.delayed.first().cloned() {
            if at > now {
                break;
            }
            self.undelay(&key);
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        // The run decides anew when it wants to run again.
        self.undelay(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// Releases a key that ran.
    pub fn done(&mut self, key: ObjectKey, outcome: Outcome, now: Instant) {
        self.running.remove(&key);
        let delay = match outcome {
            Outcome::Done => {
                self.failures.remove(&key);
                None
            }
            Outcome::After(delay) => {
                self.failures.remove(&key);
                Some(delay)
            }
            Outcome::Failed => {
                let failures = self.failures.entry(key.clone()).or_insert(0);
                let factor = 2_u32.saturating_pow((*failures).min(31));
                *failures = failures.saturating_add(1);
                Some(self.first.saturating_mul(factor).min(self.max))
            }
        };
        if let Some(delay) = delay {
            self.undelay(&key);
            self.delayed.insert((now + delay, key.clone()));
            self.due.insert(key.clone(), now + delay);
        }
        if self.again.remove(&key) {
            self.add(key);
        }
    }

    /// When the next delayed key wants to run.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// How many keys run now.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How many keys wait for a run.
    pub fn waiting(&self) -> usize {
        self.ready.len()
    }

    fn undelay(&mut self, key: &ObjectKey) {
        if let Some(at) = self.due.remove(key) {
            self.delayed.remove(&(at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Outcome, WorkQueue};
    use crate::ObjectKey;

    fn queue() -> WorkQueue {
        WorkQueue::new(Duration::from_millis(10), Duration::from_secs(1))
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_it_runs_runs_once_more() {
        let (mut queue, now, key) = (queue(), Instant::now(), ObjectKey::cluster("a"));
        queue.add(key.clone());
        queue.add(key.clone());
        assert_eq!(queue.pop(now), Some(key.clone()));
        queue.add(key.clone());
        queue.add(key.clone());
        assert_eq!(queue.pop(now), None, "one run per key at a time");
        queue.done(key.clone(), Outcome::Done, now);
        assert_eq!(queue.pop(now), Some(key.clone()));
        queue.done(key, Outcome::Done, now);
        assert_eq!(queue.pop(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_double_the_delay_and_success_forgets_them() {
        let (mut queue, mut now, key) = (queue(), Instant::now(), ObjectKey::cluster("a"));
        queue.add(key.clone());
        for millis in [10, 20, 40] {
            assert!(queue.pop(now).is_some());
            queue.done(key.clone(), Outcome::Failed, now);
            assert_eq!(queue.next_due(), Some(now + Duration::from_millis(millis)));
            assert_eq!(queue.pop(now), None);
            now += Duration::from_millis(millis);
        }
        assert!(queue.pop(now).is_some());
        queue.done(key.clone(), Outcome::After(Duration::from_secs(5)), now);
        assert_eq!(queue.next_due(), Some(now + Duration::from_secs(5)));
        queue.add(key.clone());
        assert!(queue.pop(now).is_some());
        queue.done(key, Outcome::Failed, now);
        assert_eq!(queue.next_due(), Some(now + Duration::from_millis(10)));
    }
}
