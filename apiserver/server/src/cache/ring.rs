//! The recent events of one resource, bounded by number and bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use mainstay_store::Revision;

use super::Event;

/// Frames are kept for this many of the newest events.
const FRAMES_KEPT: usize = 256;

/// Bounds of a ring.
#[derive(Debug, Clone, Copy)]
pub struct RingBounds {
    /// Events kept.
    pub events_max: usize,
    /// Bytes of objects kept alive by them.
    pub bytes_max: usize,
}

/// Recent events, oldest first, each with a sequence number that never repeats.
#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    first_seq: u64,
    floor: Revision,
    bytes: usize,
    bounds: RingBounds,
}

impl Ring {
    /// An empty ring: every event after `floor` will be in it.
    pub(super) fn new(floor: Revision, bounds: RingBounds) -> Self {
        Self { events: VecDeque::new(), first_seq: 0, floor, bytes: 0, bounds }
    }

    /// Starts over at `floor`; no cursor finds its place again.
    pub(super) fn reset(&mut self, floor: Revision) {
        self.first_seq = self.next_seq() + 1;
        self.events.clear();
        self.bytes = 0;
        self.floor = floor;
    }

    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.weight();
        self.events.push_back(event);
        while self.events.len() > self.bounds.events_max.max(1)
            || self.bytes > self.bounds.bytes_max && self.events.len() > 1
        {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.weight();
            self.floor = oldest.revision;
            self.first_seq += 1;
        }
        if let Some(at) = self.events.len().checked_sub(FRAMES_KEPT + 1)
            && let Some(aged) = self.events.get(at)
        {
            aged.forget_frames();
        }
    }

    /// The sequence number the next event will have.
    pub(super) fn next_seq(&self) -> u64 {
        self.first_seq + self.events.len() as u64
    }

    /// Events after this revision are all here.
    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    /// The sequence number of the first event after `revision`, unless some of those are gone.
    pub(super) fn seq_after(&self, revision: Revision) -> Option<u64> {
        if revision < self.floor {
            return None;
        }
        Some(self.first_seq + self.events.partition_point(|event| event.revision <= revision) as u64)
    }

    /// Up to `max` events from `seq` on; `None` when that place is gone.
    pub(super) fn read(&self, seq: u64, max: usize) -> Option<Vec<Arc<Event>>> {
        let at = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        Some(self.events.iter().skip(at).take(max).cloned().collect())
    }

    /// Events after `revision`, newest first.
    pub(super) fn newest_down_to(&self, revision: Revision) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().rev().take_while(move |event| event.revision > revision)
    }
}
