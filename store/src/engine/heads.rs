//! The newest versions of keys that were written or read lately, in bounded memory: a put then need not look for the version before it on disk,
//! and a read of one key is answered where it is asked.
//!
//! The rule that makes this right: an entry is the newest version of its key that was ever absorbed. Only the apply thread absorbs, after the
//! rows are written and before the revision is published. What is not here has to be looked for; nothing follows from its absence.
use std::collections::HashMap;
use std::hash::BuildHasher;

use bytes::Bytes;
use foldhash::quality::RandomState;
use parking_lot::Mutex;

use crate::api::{EventKind, KeyValue, LeaseId, Revision};
use crate::mvcc::Effects;

const SHARDS: usize = 16;
/// What an entry costs beside its key and value, in bytes.
const ENTRY_BYTES: usize = 200;

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

    fn bytes(&self, key: &Bytes) -> usize {
        let value = if let Self::Live { value, .. } = self { value.len() } else { 0 };
        key.len() + value + ENTRY_BYTES
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
pub(super) enum Known {
    /// It has to be looked for.
    Nothing,
    /// It does not live then.
    Gone,
    /// It lives.
    Live(KeyValue),
}

/// Two generations: what is used moves to the young one; when that is full, the old one is dropped.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Bytes, Head, RandomState>,
    young_bytes: usize,
    old: HashMap<Bytes, Head, RandomState>,
    /// The newest revision that was absorbed here.
    newest: Revision,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Heads {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// Of one generation of one shard.
    bytes_max: usize,
}

impl Heads {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::default(),
            bytes_max: bytes_max / SHARDS / 2,
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
        shard.insert(&key, head, self.bytes_max);
        known
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
            shard.insert(key, head, self.bytes_max);
        }
    }

    /// Takes what a reader found in the tables at `at`, unless something newer was absorbed meanwhile.
    pub(super) fn offer(&self, kv: &KeyValue, at: Revision) {
        let Some(shard) = self.shard(&kv.key) else { return };
        let mut shard = shard.lock();
        if shard.newest <= at {
            shard.old.remove(&kv.key);
            shard.insert(&kv.key, Head::live(kv), self.bytes_max);
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
    fn insert(&mut self, key: &Bytes, head: Head, bytes_max: usize) {
        let bytes = head.bytes(key);
        if bytes > bytes_max {
            // Larger than the cache: it is not kept, and what was kept of it is old now.
            if let Some(before) = self.young.remove(key) {
                self.young_bytes = self.young_bytes.saturating_sub(before.bytes(key));
            }
            return;
        }
        self.young_bytes += bytes;
        if let Some(before) = self.young.insert(key.clone(), head) {
            self.young_bytes = self.young_bytes.saturating_sub(before.bytes(key));
        }
        if self.young_bytes > bytes_max {
            self.old = std::mem::take(&mut self.young);
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
    }

    #[test]
    fn a_version_that_is_too_large_hides_no_newer_one() {
        let heads = Heads::new(SHARDS * 2 * 1000);
        heads.absorb(&write(EventKind::Put, "a", 5));
        let mut large = write(EventKind::Put, "a", 6);
        large.changes[0].kv.value = Bytes::from(vec![0; 2000]);
        heads.absorb(&large);
        assert_eq!(heads.at(b"a", Revision(9)), Known::Nothing);
    }
}
