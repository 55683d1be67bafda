//! The newest versions of keys that were written or read lately, in bounded memory: a put then need not look for the version before it on disk,
//! and a read of one key is answered where it is asked.
//!
//! Of a version that there is no more room for a trace is kept for as long again: all but its value. That is what most puts need, and takes a
//! quarter of the room.
//!
//! The rule that makes this right: an entry is the newest version of its key that was ever absorbed. Only the apply thread absorbs, after the
//! rows are written and before the revision is published. A trace counts only while there is no entry. What is not here has to be looked for;
//! nothing follows from its absence.
use std::collections::HashMap;
use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::quality::RandomState;
use parking_lot::Mutex;

use crate::api::{EventKind, KeyValue, LeaseId, Revision};
use crate::mvcc::{Before, Effects};

const SHARDS: usize = 16;
/// What an entry costs beside its key and value, in bytes.
const ENTRY_BYTES: usize = 200;
/// What a trace costs beside its key.
const TRACE_BYTES: usize = 110;
/// One part of so many of the memory is for traces.
const TRACES_PART: usize = 4;

/// A key's newest version, or its end. The key stands beside it in the table.
#[derive(Clone, Debug)]
enum Head {
    Live { value: Bytes, create_revision: Revision, mod_revision: Revision, version: i64, lease: LeaseId },
    Gone(Revision),
}

impl Head {
    fn live(kv: &KeyValue) -> Self {
        Self::Live {
            value: kv.value.clone(),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }

    fn revision(&self) -> Revision {
        match self {
            Self::Live { mod_revision, .. } => *mod_revision,
            Self::Gone(at) => *at,
        }
    }

    fn trace(&self) -> Trace {
        match self {
            Self::Live { create_revision, mod_revision, version, lease, .. } => Trace::Live {
                create_revision: *create_revision,
                mod_revision: *mod_revision,
                version: *version,
                lease: *lease,
            },
            Self::Gone(_) => Trace::Gone,
        }
    }

    /// What a change replaces.
    fn before(&self) -> Option<Before> {
        let Self::Live { value, .. } = self else { return None };
        let before = self.trace().before()?;
        Some(Before { value: Some(value.clone()), ..before })
    }

    fn bytes(&self, key: &Bytes) -> usize {
        self.bytes_with(key.len())
    }

    fn bytes_with(&self, key_bytes: usize) -> usize {
        let value = if let Self::Live { value, .. } = self { value.len() } else { 0 };
        key_bytes + value + ENTRY_BYTES
    }

    /// What a reader at a revision knows by this.
    fn known(&self, key: &Bytes, at: Revision) -> Known {
        if self.revision() > at {
            return Known::Nothing;
        }
        match self {
            Self::Live { value, create_revision, mod_revision, version, lease } => Known::Live(KeyValue {
                key: key.clone(),
                value: value.clone(),
                create_revision: *create_revision,
                mod_revision: *mod_revision,
                version: *version,
                lease: *lease,
            }),
            Self::Gone(_) => Known::Gone,
        }
    }
}

/// What the cache knows of a key at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known<T = KeyValue> {
    /// It has to be looked for.
    Nothing,
    /// It does not live then.
    Gone,
    /// It lives.
    Live(T),
}

impl<T> From<Option<T>> for Known<T> {
    /// Of a key of which everything is known.
    fn from(live: Option<T>) -> Self {
        live.map_or(Self::Gone, Self::Live)
    }
}

/// A version without its value, or a key's end.
#[derive(Clone, Copy, Debug)]
enum Trace {
    Live { create_revision: Revision, mod_revision: Revision, version: i64, lease: LeaseId },
    Gone,
}

impl Trace {
    fn before(self) -> Option<Before> {
        let Self::Live { create_revision, mod_revision, version, lease } = self else { return None };
        Some(Before { create_revision, mod_revision, version, lease, value: None })
    }
}

/// Two generations: when the young one is full, the old one is dropped.
#[derive(Debug, Default)]
struct Traces {
    young: HashMap<Box<[u8]>, Trace, RandomState>,
    young_bytes: usize,
    old: HashMap<Box<[u8]>, Trace, RandomState>,
}

/// Two generations: what is used moves to the young one; when that is full, the old one is dropped.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Bytes, Head, RandomState>,
    young_bytes: usize,
    old: HashMap<Bytes, Head, RandomState>,
    traces: Traces,
    /// The newest revision that was absorbed here.
    newest: Revision,
}

/// How many bytes one generation of one shard may have.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    heads: usize,
    traces: usize,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Heads {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    bounds: Bounds,
}

impl Heads {
    pub(super) fn new(bytes_max: usize) -> Self {
        let traces = bytes_max / TRACES_PART / SHARDS / 2;
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::default(),
            bounds: Bounds { heads: bytes_max / SHARDS / 2 - traces, traces },
        }
    }

    fn shard(&self, key: &[u8]) -> Option<&Mutex<Shard>> {
        self.shards.get(self.hasher.hash_one(key) as usize % SHARDS)
    }

    /// What is known of a key at `at`: its newest version, if that is no newer.
    pub(super) fn at(&self, key: &[u8], at: Revision) -> Known {
        let Some(shard) = self.shard(key) else { return Known::Nothing };
        let mut shard = shard.lock();
        if let Some((key, head)) = shard.young.get_key_value(key) {
            return head.known(key, at);
        }
        let Some((key, head)) = shard.old.remove_entry(key) else { return Known::Nothing };
        let known = head.known(&key, at);
        shard.insert(key, head, self.bounds);
        known
    }

    /// What a change replaces: for whoever applies, who has absorbed all that there is.
    pub(super) fn before(&self, key: &[u8], with_value: bool) -> Known<Before> {
        let Some(shard) = self.shard(key) else { return Known::Nothing };
        let shard = shard.lock();
        // What is found in the old generation will be written anew, or was only compared: it stays where it is.
        if let Some(head) = shard.young.get(key).or_else(|| shard.old.get(key)) {
            return head.before().into();
        }
        match shard.traces.get(key).map(|trace| trace.before().into()) {
            Some(Known::Live(_)) if with_value => Known::Nothing,
            found => found.unwrap_or(Known::Nothing),
        }
    }

    /// Takes what was written.
    pub(super) fn absorb(&self, effects: &Effects) {
        for change in &effects.changes {
            let key = &change.kv.key;
            let head = match change.kind {
                EventKind::Put => Head::live(&change.kv),
                EventKind::Delete => Head::Gone(change.kv.mod_revision),
            };
            let Some(shard) = self.shard(key) else { continue };
            let mut shard = shard.lock();
            shard.newest = change.kv.mod_revision;
            shard.old.remove(key);
            shard.insert(key.clone(), head, self.bounds);
        }
    }

    /// Takes what a reader found in the tables at `at`, unless something newer was absorbed meanwhile.
    pub(super) fn offer(&self, kv: &KeyValue, at: Revision) {
        let Some(shard) = self.shard(&kv.key) else { return };
        let mut shard = shard.lock();
        if shard.newest <= at {
            shard.old.remove(&kv.key);
            shard.insert(kv.key.clone(), Head::live(kv), self.bounds);
        }
    }

    /// Forgets everything: the tables were opened or replaced at this revision. Nobody may absorb or read meanwhile.
    pub(super) fn clear(&self, newest: Revision) {
        for shard in &self.shards {
            *shard.lock() = Shard { newest, ..Shard::default() };
        }
    }
}

impl Shard {
    /// Takes a head that is not in the old generation.
    fn insert(&mut self, key: Bytes, head: Head, bounds: Bounds) {
        let bytes = head.bytes(&key);
        if bytes > bounds.heads {
            // Larger than the cache: what was kept of it is old now.
            if let Some(before) = self.young.remove(&key) {
                self.young_bytes = self.young_bytes.saturating_sub(before.bytes(&key));
            }
            return self.traces.insert(&key, head.trace(), bounds.traces);
        }
        let key_bytes = key.len();
        self.young_bytes += bytes;
        if let Some(before) = self.young.insert(key, head) {
            self.young_bytes = self.young_bytes.saturating_sub(before.bytes_with(key_bytes));
        }
        if self.young_bytes > bounds.heads {
            // The room that the dropped generation had is used again.
            let mut dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            for (key, head) in dropped.drain() {
                self.traces.insert(&key, head.trace(), bounds.traces);
            }
            self.young = dropped;
            self.young_bytes = 0;
        }
    }
}

impl Traces {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn get(&self, key: &[u8]) -> Option<Trace> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    fn insert(&mut self, key: &[u8], trace: Trace, bytes_max: usize) {
        let bytes = key.len() + TRACE_BYTES;
        if bytes > bytes_max {
            // What was kept is old now.
            self.young.remove(key);
            self.old.remove(key);
            return;
        }
        if self.young.insert(key.into(), trace).is_none() {
            self.young_bytes += bytes;
        }
        if self.young_bytes > bytes_max {
            let mut dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            dropped.clear();
            self.young = dropped;
            self.young_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::{Change, Reply};

    fn kv(key: &str, revision: i64) -> KeyValue {
        KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            mod_revision: Revision(revision),
            version: 1,
            ..KeyValue::default()
        }
    }

    fn write(kind: EventKind, key: &str, revision: i64) -> Effects {
        Effects {
            revision: Revision(revision),
            changes: vec![Change { kind, kv: kv(key, revision), prev: None }],
            lease: None,
            auth: None,
            floor: None,
            alarm: None,
            applied: Ok(Reply::Nothing),
        }
    }

    #[test]
    fn a_version_newer_than_the_reader_is_not_shown() {
        let heads = Heads::new(1 << 20);
        heads.absorb(&write(EventKind::Put, "a", 5));
        assert_eq!(heads.at(b"a", Revision(4)), Known::Nothing);
        assert_eq!(heads.at(b"a", Revision(5)), Known::Live(kv("a", 5)));
        heads.absorb(&write(EventKind::Delete, "a", 6));
        assert_eq!(heads.at(b"a", Revision(5)), Known::Nothing);
        assert_eq!(heads.at(b"a", Revision(6)), Known::Gone);
    }

    #[test]
    fn a_reader_that_was_overtaken_leaves_nothing_behind() {
        let heads = Heads::new(1 << 20);
        heads.absorb(&write(EventKind::Put, "a", 5));
        heads.offer(&kv("a", 3), Revision(4));
        assert_eq!(heads.at(b"a", Revision(9)), Known::Live(kv("a", 5)));
        heads.clear(Revision(5));
        assert_eq!(heads.at(b"a", Revision(9)), Known::Nothing);
        heads.offer(&kv("a", 3), Revision(4));
        assert_eq!(heads.at(b"a", Revision(9)), Known::Nothing, "it may have been written since");
        heads.offer(&kv("a", 5), Revision(5));
        assert_eq!(heads.at(b"a", Revision(9)), Known::Live(kv("a", 5)));
    }

    #[test]
    fn memory_stays_within_its_bound_and_what_is_used_stays() {
        let heads = Heads::new(64 << 10);
        for i in 0..10_000 {
            heads.absorb(&write(EventKind::Put, &format!("{i}"), i + 5));
            heads.absorb(&write(EventKind::Put, "hot", i + 5));
            assert_ne!(heads.at(b"hot", Revision(i + 5)), Known::Nothing);
        }
        let entries = |shard: &Mutex<Shard>| {
            let shard = shard.lock();
            shard.young.len() + shard.old.len()
        };
        let kept: usize = heads.shards.iter().map(entries).sum();
        assert!((20..=(64 << 10) / ENTRY_BYTES + SHARDS).contains(&kept), "{kept}");
        let traces: usize = heads.shards.iter().map(|shard| shard.lock().traces.len()).sum();
        assert!((20..=(64 << 10) / TRACES_PART / TRACE_BYTES + SHARDS).contains(&traces), "{traces}");
    }

    #[test]
    fn of_what_has_no_room_all_but_the_value_is_known_for_longer() {
        let heads = Heads::new(64 << 10);
        let before = |key: &str, with_value| heads.before(key.as_bytes(), with_value);
        let of = |revision| Before { value: Some(Bytes::new()), ..kv("a", revision).into() };
        let is_held = |key: &str| {
            let shard = heads.shard(key.as_bytes()).unwrap().lock();
            shard.young.contains_key(key.as_bytes()) || shard.old.contains_key(key.as_bytes())
        };
        // Of the few that have room together the traces have.
        let push_out = |key: &str, from: i64| {
            (from..from + 30_000).take_while(|_| is_held(key)).for_each(|revision| {
                let mut other = write(EventKind::Put, &format!("{revision}"), revision);
                other.changes[0].kv.value = Bytes::from(vec![0; 500]);
                heads.absorb(&other);
            });
        };
        heads.absorb(&write(EventKind::Put, "a", 5));
        assert_eq!(before("a", true), Known::Live(of(5)));
        heads.absorb(&write(EventKind::Put, "a", 6));
        push_out("a", 7);
        assert_eq!(before("a", true), Known::Nothing);
        assert_eq!(before("a", false), Known::Live(Before { value: None, ..of(6) }));
        heads.absorb(&write(EventKind::Delete, "gone", 40_000));
        push_out("gone", 40_001);
        assert_eq!(before("gone", true), Known::Gone);
        // A trace of before counts for nothing once there is something newer.
        heads.absorb(&write(EventKind::Put, "a", 100_000));
        assert_eq!(before("a", true), Known::Live(of(100_000)));
        let mut large = write(EventKind::Put, "a", 100_001);
        large.changes[0].kv.value = Bytes::from(vec![0; 1 << 20]);
        heads.absorb(&large);
        assert_eq!(before("a", false), Known::Live(Before { value: None, ..of(100_001) }));
        assert_eq!(before("a", true), Known::Nothing);
        for i in 0..10_000 {
            heads.absorb(&write(EventKind::Put, &format!("{i}"), i + 200_000));
        }
        assert_eq!(before("a", false), Known::Nothing);
    }

    #[test]
    fn without_memory_nothing_is_known() {
        let heads = Heads::new(0);
        heads.absorb(&write(EventKind::Put, "a", 5));
        assert_eq!(heads.before(b"a", false), Known::Nothing);
    }

    #[test]
    fn a_version_that_is_too_large_hides_no_newer_one() {
        let heads = Heads::new(SHARDS * 2 * 1334);
        heads.absorb(&write(EventKind::Put, "a", 5));
        let mut large = write(EventKind::Put, "a", 6);
        large.changes[0].kv.value = Bytes::from(vec![0; 2000]);
        heads.absorb(&large);
        assert_eq!(heads.at(b"a", Revision(9)), Known::Nothing);
    }
}
