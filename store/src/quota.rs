//! The bound on the size of the tables. Reaching it raises the NOSPACE alarm, which stays until a person disarms it, as in etcd.
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::Op;
use crate::engine::Tables;
use crate::mvcc::Command;

/// How old the last look at the tables' size may be; what was accepted since is added to it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What a key costs beside its key and value, and a lease; etcd's figures.
const KEY_BYTES: u64 = 256;
const LEASE_BYTES: u64 = 64;

/// Counts what writes cost.
#[derive(Debug)]
pub(crate) struct Quota {
    max_bytes: Option<u64>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    at: Option<Instant>,
    bytes: u64,
}

impl Quota {
    pub(crate) fn new(max_bytes: Option<u64>) -> Self {
        Self { max_bytes, seen: Mutex::default() }
    }

    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    /// Whether a command fits. Commands that add nothing always do.
    pub(crate) fn admits(&self, command: &Command, tables: &Tables) -> bool {
        let Some(max) = self.max_bytes else { return true };
        let cost = cost(command);
        if cost == 0 {
            return true;
        }
        let now = Instant::now();
        let mut seen = self.seen.lock();
        if seen.at.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_AGAIN) {
            *seen = Seen { at: Some(now), bytes: tables.size_bytes() };
        }
        if seen.bytes + cost >= max {
            return false;
        }
        seen.bytes += cost;
        true
    }
}

/// What a command may add to the tables, in bytes.
fn cost(command: &Command) -> u64 {
    match command.itself() {
        Command::Put(put) => KEY_BYTES + (put.key.len() + put.value.len()) as u64,
        Command::Txn(txn) => txn_cost(&txn.success).max(txn_cost(&txn.failure)),
        Command::LeaseGrant { .. } => LEASE_BYTES,
        _ => 0,
    }
}

fn txn_cost(ops: &[Op]) -> u64 {
    ops.iter()
        .map(|op| match op {
            Op::Put(put) => KEY_BYTES + (put.key.len() + put.value.len()) as u64,
            Op::Txn(nested) => txn_cost(&nested.success).max(txn_cost(&nested.failure)),
            Op::Range(_) | Op::Delete(_) => 0,
        })
        .sum()
}
