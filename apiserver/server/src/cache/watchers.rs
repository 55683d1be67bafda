//! Who waits for events of one resource, by interest: an event wakes those whom it concerns, and costs nothing to the
//! others. The notes that a watcher gets are places in the ring, not events: a slow watcher costs a few hundred bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::ring::Ring;
use super::{Event, Interest};

/// Places noted one by one; from the next one on the watcher reads all events and finds its own.
const PLACES_MAX: usize = 32;

/// What one watcher has still to read.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    places: VecDeque<u64>,
    /// All events from here on, besides the places before.
    rest: Option<u64>,
}

impl Slot {
    /// A slot whose watcher reads everything from `seq` on, as far as there is something already.
    pub(super) fn starting_at(seq: u64, ring: &Ring) -> Self {
        let rest = (seq < ring.next_seq()).then_some(seq);
        Self { pending: Mutex::new(Pending { places: VecDeque::new(), rest }), wake: Notify::new() }
    }

    /// Notes a place; true if there was nothing to read before.
    fn note(&self, seq: u64) -> bool {
        let mut pending = self.pending.lock();
        let was_empty = pending.is_empty();
        // An event can concern one interest twice.
        if pending.rest.is_none() && pending.places.back() != Some(&seq) {
            if pending.places.len() < PLACES_MAX {
                pending.places.push_back(seq);
            } else {
                pending.rest = Some(seq);
            }
        }
        was_empty
    }

    /// Up to `max` events that were noted and perhaps others between them; none of them when there are none. `None`
    /// when one of them is gone.
    ///
    /// The ring must not change meanwhile: what comes later is noted later.
    pub(super) fn read(&self, ring: &Ring, max: usize) -> Option<Vec<Arc<Event>>> {
        let mut pending = self.pending.lock();
        let mut events = Vec::new();
        while events.len() < max {
            let Some(seq) = pending.places.front() else { break };
            events.extend(ring.read(*seq, 1)?);
            pending.places.pop_front();
        }
        if pending.places.is_empty()
            && let Some(from) = pending.rest
        {
            let more = ring.read(from, max - events.len())?;
            let next = from + more.len() as u64;
            pending.rest = (next < ring.next_seq()).then_some(next);
            events.extend(more);
        }
        Some(events)
    }

    /// Whether there is something to read.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.lock().is_empty()
    }

    /// Resolves after something was noted. Cancel safe.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Everything was replaced: the watcher's place is gone.
    fn lose(&self) {
        let mut pending = self.pending.lock();
        pending.places.clear();
        // No ring that was reset has this place any more.
        pending.rest = Some(0);
        drop(pending);
        self.wake.notify_one();
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.rest.is_none()
    }
}

/// The slots of one resource.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    by_interest: Mutex<HashMap<Interest, Vec<Arc<Slot>>>>,
}

impl Watchers {
    pub(super) fn add(&self, interest: Interest, slot: &Arc<Slot>) {
        self.by_interest.lock().entry(interest).or_default().push(Arc::clone(slot));
    }

    pub(super) fn remove(&self, interest: &Interest, slot: &Arc<Slot>) {
        let mut by_interest = self.by_interest.lock();
        let Some(slots) = by_interest.get_mut(interest) else { return };
        if let Some(at) = slots.iter().position(|other| Arc::ptr_eq(other, slot)) {
            slots.swap_remove(at);
        }
        if slots.is_empty() {
            by_interest.remove(interest);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.by_interest.lock().values().map(Vec::len).sum()
    }

    /// Notes an event with those whom it concerns; who had nothing to read is put into `woken`.
    pub(super) fn note(&self, event: &Event, seq: u64, woken: &mut Vec<Arc<Slot>>) {
        let by_interest = self.by_interest.lock();
        if by_interest.is_empty() {
            return;
        }
        Interest::of_event(event, |interest| {
            for slot in by_interest.get(interest).into_iter().flatten() {
                if slot.note(seq) {
                    woken.push(Arc::clone(slot));
                }
            }
        });
    }

    /// Wakes those whom [`Watchers::note`] found.
    pub(super) fn wake(woken: &[Arc<Slot>]) {
        for slot in woken {
            slot.wake.notify_one();
        }
    }

    /// Tells everyone that everything was replaced.
    pub(super) fn lose_all(&self) {
        for slot in self.by_interest.lock().values().flatten() {
            slot.lose();
        }
    }
}
