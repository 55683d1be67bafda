//! Which keys may have versions in the tables: a filter in memory, so that a key that is new is not looked for on disk.
//!
//! To find out that a key is not there takes a seek in the memtables and in a file of every level, which was a quarter of what applying a
//! creation cost. The filter answers "not there" for nearly all such keys. It may say "perhaps" of a key that is not there, which is then looked
//! for; it must never say "not there" of a key with a version in the tables, or a creation would hide what was there before.
//!
//! So a filter is used only once it is whole. From the moment in which it begins to be built, whoever applies adds each key that is new; the
//! compactor's thread adds what the tables hold, from the first row to the last. A key whose rows were written before that moment is found in
//! the tables, any other was added. Keys are never taken out: once it is full, a filter is built anew.
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use foldhash::quality::RandomState;
use parking_lot::RwLock;
use rocksdb::ReadOptions;

use super::{EngineError, Tables, table_key};
use crate::api::EventKind;
use crate::mvcc::Effects;

const ATTEMPT: &str = "looking which keys there are";
/// After so many keys were looked for in vain, a filter is worth a walk over all keys.
const MISSES_MAX: u64 = 1024;
/// The least that a filter has room for.
const KEYS_MIN: usize = 1 << 16;
/// Of more keys none is kept: it would take more than 32 MiB.
const KEYS_MAX: usize = 1 << 24;
/// If the keys do not fit, the next filter has so many times the room.
const GROWTH: usize = 4;
/// At 16 bits a key, one in some hundreds of absent keys is looked for. A block is a line of the processor's cache.
const KEYS_PER_BLOCK: usize = 32;
/// So many rows are read at once; then whoever waits to close or replace the tables may.
const ROWS_AT_ONCE: usize = 1 << 14;
const READAHEAD_BYTES: usize = 1 << 20;

/// One bit in each word belongs to a key.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Block([AtomicU64; 8]);

/// A Bloom filter in blocks.
#[derive(Debug)]
struct Filter {
    blocks: Box<[Block]>,
    hasher: RandomState,
    /// So many keys had a bit of their own.
    keys: AtomicUsize,
}

impl Filter {
    fn with_room_for(keys: usize) -> Self {
        let blocks = (0..keys.div_ceil(KEYS_PER_BLOCK).max(1)).map(|_| Block::default()).collect();
        Self { blocks, hasher: RandomState::default(), keys: AtomicUsize::new(0) }
    }

    fn room(&self) -> usize {
        self.blocks.len() * KEYS_PER_BLOCK
    }

    fn is_full(&self) -> bool {
        self.keys.load(Ordering::Relaxed) >= self.room()
    }

    /// A key's bits with the words that they belong to: the hash's high bits choose the block, its low ones the bits.
    fn bits(&self, key: &[u8]) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let hash = self.hasher.hash_one(key);
        let at = (u128::from(hash) * self.blocks.len() as u128) >> 64;
        let words = self.blocks.get(at as usize).map(|block| &block.0);
        words.into_iter().flatten().zip((0..8).map(move |word| 1 << ((hash >> (6 * word)) & 63)))
    }

    /// The order of memory is the caller's: what is added is looked for only after the revision was published.
    fn add(&self, key: &[u8]) {
        let mut is_new = false;
        for (word, bit) in self.bits(key) {
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
                is_new = true;
            }
        }
        if is_new {
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn may_have(&self, key: &[u8]) -> bool {
        self.bits(key).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Whole.
    filter: Option<Arc<Filter>>,
    /// Has what was created since it was begun, and some of what the tables hold.
    next: Option<Arc<Filter>>,
}

/// What is known of which keys there are.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    state: RwLock<State>,
    misses: AtomicU64,
    /// A filter should be built.
    is_wanted: AtomicBool,
    /// There are too many keys.
    is_given_up: AtomicBool,
}

impl KnownKeys {
    /// Whether it is certain that a key has no version in the tables.
    pub(super) fn is_absent(&self, key: &[u8]) -> bool {
        self.state.read().filter.as_ref().is_some_and(|filter| !filter.may_have(key))
    }

    /// A key was looked for in the tables, and was not there.
    pub(super) fn missed(&self) {
        if self.misses.fetch_add(1, Ordering::Relaxed) == MISSES_MAX && self.state.read().filter.is_none() {
            self.want();
        }
    }

    fn want(&self) {
        if !self.is_given_up.load(Ordering::Relaxed) {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Takes what was written, before its revision is published.
    pub(super) fn absorb(&self, effects: &Effects) {
        let mut created = effects
            .changes
            .iter()
            .filter(|change| change.kind == EventKind::Put && change.prev.is_none())
            .peekable();
        if created.peek().is_none() {
            return;
        }
        let state = self.state.read();
        for change in created {
            for filter in [&state.filter, &state.next].into_iter().flatten() {
                filter.add(&change.kv.key);
            }
        }
        if state.filter.as_ref().is_some_and(|filter| filter.is_full()) && state.next.is_none() {
            self.want();
        }
    }

    /// Forgets everything: other tables take the place of these. Nobody may absorb meanwhile.
    pub(super) fn forget(&self) {
        *self.state.write() = State::default();
        self.misses.store(0, Ordering::Relaxed);
        self.is_given_up.store(false, Ordering::Relaxed);
    }

    /// Begins a filter. What is created from here on will be in it.
    fn begin(&self, room: usize) -> Arc<Filter> {
        let next = Arc::new(Filter::with_room_for(room));
        self.state.write().next = Some(Arc::clone(&next));
        next
    }

    /// The filter has all that the tables held when it was begun: from here on it is used, unless it was forgotten.
    fn finish(&self, built: &Arc<Filter>) {
        let mut state = self.state.write();
        if state.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, built)) {
            state.filter = state.next.take();
        }
    }

    fn abandon(&self) {
        self.state.write().next = None;
    }

    fn is_under_way(&self, filter: &Arc<Filter>) -> bool {
        self.state.read().next.as_ref().is_some_and(|next| Arc::ptr_eq(next, filter))
    }
}

impl Tables {
    /// Whether [`Tables::renew_known_keys`] has something to do.
    pub(crate) fn wants_known_keys(&self) -> bool {
        self.known_keys.is_wanted.load(Ordering::Relaxed)
    }

    /// Walks over all keys to build the filter, if it is wanted. Only one thread may; nobody waits for it. Whatever becomes of it, keys are found.
    pub(crate) fn renew_known_keys(&self, is_ending: &dyn Fn() -> bool) -> Result<(), EngineError> {
        if !self.known_keys.is_wanted.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let before = self.known_keys.state.read().filter.as_ref().map_or(0, |filter| filter.room());
        // Half as large at first: many of the keys that filled the last one may be gone.
        let mut room = (before / 2).max(KEYS_MIN);
        while room <= KEYS_MAX {
            let next = self.known_keys.begin(room);
            match self.add_all(&next, is_ending) {
                Ok(Walk::Whole) => {
                    self.known_keys.finish(&next);
                    return Ok(());
                }
                Ok(Walk::Full) => room *= GROWTH,
                ended => {
                    self.known_keys.abandon();
                    return ended.map(|_walk| ());
                }
            }
        }
        // What was built before goes on being used: it is right, if of less and less use.
        self.known_keys.abandon();
        self.known_keys.is_given_up.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Adds every key that has a version.
    fn add_all(&self, next: &Arc<Filter>, is_ending: &dyn Fn() -> bool) -> Result<Walk, EngineError> {
        let mut from = b"k".to_vec();
        loop {
            if is_ending() || !self.known_keys.is_under_way(next) {
                return Ok(Walk::Ended);
            }
            match self.add_some(next, &from)? {
                None => return Ok(Walk::Whole),
                Some(_) if next.is_full() => return Ok(Walk::Full),
                Some(last) => from = last,
            }
        }
    }

    /// Adds the keys of some rows; returns the row to go on from, if there is one.
    fn add_some(&self, next: &Filter, from: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let damaged = || EngineError::damaged(ATTEMPT, "a version row is damaged");
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_upper_bound(table_key::VERSIONS_END);
        options.set_readahead_size(READAHEAD_BYTES);
        options.fill_cache(false);
        let db = self.db()?;
        let mut rows = db.raw_iterator_opt(options);
        rows.seek(from);
        let mut current: Vec<u8> = Vec::new();
        for _ in 0..ROWS_AT_ONCE {
            let Some(row) = rows.key() else {
                return rows.status().map(|()| None).map_err(EngineError::rocksdb(ATTEMPT));
            };
            let (shared, _) = table_key::split_version(row).ok_or_else(damaged)?;
            if shared != current {
                current.clear();
                current.extend_from_slice(shared);
                next.add(&table_key::unescape(shared).ok_or_else(damaged)?);
            }
            rows.next();
        }
        let last = rows.key().map(<[u8]>::to_vec);
        rows.status().map_err(EngineError::rocksdb(ATTEMPT))?;
        Ok(last)
    }
}

/// How a walk over all keys ended.
enum Walk {
    Whole,
    /// There are more keys than the filter has room for.
    Full,
    /// The store is closed, or the tables are others.
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Vec<u8> {
        format!("/registry/configmaps/default/map-{number}").into_bytes()
    }

    #[test]
    fn every_key_that_was_added_is_found_and_few_others_are() {
        let filter = Filter::with_room_for(10_000);
        for number in 0..10_000 {
            filter.add(&key(number));
        }
        assert!((0..10_000).all(|number| filter.may_have(&key(number))));
        let wrong = (10_000..110_000).filter(|number| filter.may_have(&key(*number))).count();
        assert!(wrong < 1000, "{wrong} of 100,000");
        // Twice as many as it has room for: less useful, never wrong.
        for number in 10_000..20_000 {
            filter.add(&key(number));
        }
        assert!(filter.is_full());
        assert!((0..20_000).all(|number| filter.may_have(&key(number))));
    }

    #[test]
    fn a_filter_that_was_forgotten_while_it_was_built_is_not_used() {
        let keys = KnownKeys::default();
        let first = keys.begin(100);
        keys.forget();
        keys.finish(&first);
        assert!(!keys.is_absent(b"a"));
        let second = keys.begin(100);
        keys.finish(&second);
        assert!(keys.is_absent(b"a"));
        keys.forget();
        assert!(!keys.is_absent(b"a"));
    }

    #[test]
    fn it_is_wanted_after_many_keys_were_looked_for_in_vain() {
        let keys = KnownKeys::default();
        for _ in 0..MISSES_MAX {
            keys.missed();
        }
        assert!(!keys.is_wanted.load(Ordering::Relaxed));
        keys.missed();
        assert!(keys.is_wanted.load(Ordering::Relaxed));
    }
}
