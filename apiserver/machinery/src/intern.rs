//! What lives as long as the process although it is made at run time: names and columns of custom resources, which
//! everything else takes as `&'static`. Equal contents are kept once, so that a definition that comes back costs nothing
//! new, and all of it together is bounded. Large things that change (schemas, rules) are never kept here.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be kept until the process ends.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an entry costs besides its own bytes.
const ENTRY_BYTES: usize = 64;

static USED: AtomicUsize = AtomicUsize::new(0);
static TEXTS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);

/// Nothing more can be kept: names of too many different definitions have been served since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the names of custom resources served since the start take {BYTES_MAX} bytes; a restart frees those no longer in use"
)]
pub struct Full;

/// Bytes that are kept.
pub fn used_bytes() -> usize {
    USED.load(Ordering::Relaxed)
}

fn reserve(bytes: usize) -> Result<(), Full> {
    let bytes = bytes.saturating_add(ENTRY_BYTES);
    let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= BYTES_MAX);
    match USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
        Ok(_) => Ok(()),
        Err(_) => Err(Full),
    }
}

/// The one copy of `text`.
///
/// # Errors
/// [`Full`].
pub fn text(text: &str) -> Result<&'static str, Full> {
    let mut known = TEXTS.lock();
    if let Some(found) = known.get(text) {
        return Ok(found);
    }
    reserve(text.len())?;
    let kept: &'static str = Box::leak(Box::from(text));
    known.insert(kept);
    Ok(kept)
}

/// Values of one type, each kept once by its key.
pub struct Interned<K, V: ?Sized + 'static> {
    known: Mutex<HashMap<K, &'static V>>,
}

impl<K: Eq + Hash, V: ?Sized> Interned<K, V> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { known: Mutex::new(HashMap::new()) }
    }

    /// The value of `key`; the first time `make` makes it. `bytes` is about what key and value take.
    ///
    /// # Errors
    /// [`Full`], or the error of `make`.
    pub fn get<E: From<Full>>(
        &self,
        key: K,
        bytes: usize,
        make: impl FnOnce(&K) -> Result<Box<V>, E>,
    ) -> Result<&'static V, E> {
        let mut known = self.known.lock();
        if let Some(found) = known.get(&key) {
            return Ok(found);
        }
        reserve(bytes)?;
        let kept: &'static V = Box::leak(make(&key)?);
        known.insert(key, kept);
        Ok(kept)
    }
}

impl<K: Eq + Hash, V: ?Sized> Default for Interned<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

static LISTS: LazyLock<Interned<Vec<&'static str>, [&'static str]>> = LazyLock::new(Interned::new);

/// The one copy of a list of texts.
///
/// # Errors
/// [`Full`].
pub fn texts<S: AsRef<str>>(list: &[S]) -> Result<&'static [&'static str], Full> {
    let list: Vec<&'static str> = list.iter().map(|one| text(one.as_ref())).collect::<Result<_, _>>()?;
    let bytes = list.len() * 48;
    LISTS.get(list, bytes, |list| Ok::<_, Full>(list.clone().into_boxed_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contents_are_kept_once() {
        let one = texts(&["intern-test-a", "intern-test-b"]).unwrap();
        let used = used_bytes();
        for _again in 0..1000 {
            assert!(std::ptr::eq(texts(&["intern-test-a", "intern-test-b"]).unwrap(), one));
        }
        // Other tests of this process keep nothing of this size meanwhile.
        assert!(used_bytes() - used < 10_000);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(reserve(BYTES_MAX), Err(Full));
        assert_eq!(reserve(usize::MAX), Err(Full));
    }
}
