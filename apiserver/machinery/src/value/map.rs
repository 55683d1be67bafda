//! [`Map`]: an object's members, sorted by key in one vector: small, quick to read and to compare.

use super::Value;
use smol_str::SmolStr;

/// A member's name.
pub type Key = SmolStr;

/// Members of a JSON object, sorted by key, each key at most once.
#[derive(Clone, Default, PartialEq)]
pub struct Map {
    entries: Vec<(SmolStr, Value)>,
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|(k, v)| (k, v))).finish()
    }
}

impl Map {
    /// An empty map; allocates nothing.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// A map of these pairs in any order; of equal keys the last pair wins.
    pub fn from_pairs(mut entries: Vec<(SmolStr, Value)>) -> Self {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            // dedup_by removes the later of two neighbours, so the later value is moved to the earlier place first.
            entries.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(&mut later.1, &mut earlier.1);
                }
                same
            });
        }
        Self { entries }
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(k, _)| k.as_str().cmp(key))
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.find(key).ok()?;
        self.entries.get(at).map(|(_, v)| v)
    }

    /// The value under `key`, to change in place.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        let at = self.find(key).ok()?;
        self.entries.get_mut(at).map(|(_, v)| v)
    }

    /// Whether `key` is present (be it null).
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Sets `key`, returning what stood there.
    pub fn insert(&mut self, key: impl Into<SmolStr>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.find(&key) {
            Ok(at) => self.entries.get_mut(at).map(|(_, old)| std::mem::replace(old, value)),
            Err(at) => {
                self.entries.insert(at, (key, value));
                None
            }
        }
    }

    /// Adds a member at the end, in any order; [`Map::restore_order`] must follow before anything else is done.
    pub(crate) fn push_unordered(&mut self, key: SmolStr, value: Value) {
        self.entries.push((key, value));
    }

    /// Sorts what [`Map::push_unordered`] added; of equal keys the last wins.
    pub(crate) fn restore_order(&mut self) {
        if !self.entries.is_sorted_by(|a, b| a.0 < b.0) {
            *self = Self::from_pairs(std::mem::take(&mut self.entries));
        }
    }

    /// Joins two maps in one pass: `join` gets each key with its value on either side and says what stays.
    ///
    /// # Errors
    /// The first error of `join`.
    pub(crate) fn try_join<E>(
        self,
        other: Self,
        mut join: impl FnMut(&SmolStr, Option<Value>, Option<Value>) -> Result<Option<Value>, E>,
    ) -> Result<Self, E> {
        let mut entries = Vec::with_capacity(self.len().max(other.len()));
        let (mut left, mut right) =
            (self.entries.into_iter().peekable(), other.entries.into_iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return Ok(Self { entries }),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let one = if order.is_le() { left.next() } else { None };
            let two = if order.is_ge() { right.next() } else { None };
            let (one_key, one) = one.unzip();
            let (two_key, two) = two.unzip();
            let Some(key) = one_key.or(two_key) else { continue };
            if let Some(value) = join(&key, one, two)? {
                entries.push((key, value));
            }
        }
    }

    /// Removes `key`, returning what stood there.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.find(key).ok()?;
        Some(self.entries.remove(at).1)
    }

    /// The value under `key`; when it is absent, `value` is put there first.
    pub fn get_or_insert(&mut self, key: &str, value: impl FnOnce() -> Value) -> &mut Value {
        let at = match self.find(key) {
            Ok(at) => at,
            Err(at) => {
                self.entries.insert(at, (SmolStr::new(key), value()));
                at
            }
        };
        &mut self.entries[at].1
    }

    /// The map under `key`; whatever else (or nothing) stands there is replaced by an empty map first.
    pub fn get_or_insert_map(&mut self, key: &str) -> &mut Map {
        let slot = self.get_or_insert(key, || Value::Map(Map::new()));
        if !matches!(slot, Value::Map(_)) {
            *slot = Value::Map(Map::new());
        }
        match slot {
            Value::Map(map) => map,
            _ => unreachable!("the slot was just made a map"),
        }
    }

    /// The list under `key`; whatever else (or nothing) stands there is replaced by an empty list first.
    pub fn get_or_insert_list(&mut self, key: &str) -> &mut Vec<Value> {
        let slot = self.get_or_insert(key, || Value::List(Vec::new()));
        if !matches!(slot, Value::List(_)) {
            *slot = Value::List(Vec::new());
        }
        match slot {
            Value::List(list) => list,
            _ => unreachable!("the slot was just made a list"),
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes every member.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Members in key order.
    pub fn iter(&self) -> std::slice::Iter<'_, (SmolStr, Value)> {
        self.entries.iter()
    }

    /// Members in key order, values to change in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&SmolStr, &mut Value)> {
        self.entries.iter_mut().map(|(k, v)| (&*k, v))
    }

    /// Keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &SmolStr> {
        self.entries.iter().map(|(k, _)| k)
    }

    /// Values in key order.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().map(|(_, v)| v)
    }

    /// Values in key order, to change in place.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.entries.iter_mut().map(|(_, v)| v)
    }

    /// Keeps the members for which `keep` says yes.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.entries.retain_mut(|(k, v)| keep(k, v));
    }
}

impl IntoIterator for Map {
    type Item = (SmolStr, Value);
    type IntoIter = std::vec::IntoIter<(SmolStr, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a (SmolStr, Value);
    type IntoIter = std::slice::Iter<'a, (SmolStr, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl<K: Into<SmolStr>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self::from_pairs(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_of_equal_keys_wins_and_order_is_by_key() {
        let map = Map::from_pairs(vec![
            ("b".into(), Value::Int(1)),
            ("a".into(), Value::Int(2)),
            ("b".into(), Value::Int(3)),
            ("b".into(), Value::Int(4)),
        ]);
        assert_eq!(map.keys().map(SmolStr::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(map.get("b"), Some(&Value::Int(4)));
    }

    #[test]
    fn insert_and_remove_keep_the_order() {
        let mut map = Map::new();
        for key in ["c", "a", "d", "b"] {
            assert_eq!(map.insert(key, 1), None);
        }
        assert_eq!(map.insert("a", 2), Some(Value::Int(1)));
        assert_eq!(map.remove("c"), Some(Value::Int(1)));
        assert_eq!(map.keys().map(SmolStr::as_str).collect::<String>(), "abd");
    }
}
