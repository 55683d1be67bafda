//! What the debug pages show of requests, and who runs on a level now.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use smol_str::SmolStr;
use time::OffsetDateTime;

use crate::types::Attributes;

/// A request as the debug pages show it.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// The flow schema.
    pub(super) schema: SmolStr,
    /// What tells its flow from others of the schema: the user or the namespace, or nothing.
    pub(super) distinguisher: SmolStr,
    pub(super) user: SmolStr,
    pub(super) asked: Attributes,
    pub(super) arrived: OffsetDateTime,
    pub(super) seats: u32,
}

/// Requests that run, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Roster(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    begun: u64,
    requests: BTreeMap<u64, (Arc<About>, OffsetDateTime)>,
}

impl Roster {
    /// A request runs from `now` on; its number.
    pub(super) fn begin(&self, about: Arc<About>, now: OffsetDateTime) -> u64 {
        let mut running = self.0.lock();
        running.begun += 1;
        let number = running.begun;
        running.requests.insert(number, (about, now));
        number
    }

    /// The request of that number has ended.
    pub(super) fn end(&self, number: u64) {
        let ended = self.0.lock().requests.remove(&number);
        // Freed after the lock is.
        drop(ended);
    }

    /// All that run, and since when.
    pub(super) fn running(&self) -> Vec<(Arc<About>, OffsetDateTime)> {
        self.0.lock().requests.values().cloned().collect()
    }
}
