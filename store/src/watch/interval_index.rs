//! Finds the ranges that a key lies in, without looking at the others: a hash table for ranges of one key, and for the rest a treap ordered by
//! start in which every node knows the greatest end below it. Each range that is watched is in it once, with what belongs to it.
use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::BuildHasher as _;

use bytes::Bytes;

use crate::platform::RandomHash;

/// The end of a range: a key that is no longer inside, or none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Before(Bytes),
    Never,
}

impl End {
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => &end[..] > key,
            Self::Never => true,
        }
    }

    fn max<'e>(&'e self, other: &'e Self) -> &'e Self {
        match (self, other) {
            (Self::Before(a), Self::Before(b)) => {
                if a < b {
                    other
                } else {
                    self
                }
            }
            (Self::Never, _) => self,
            (_, Self::Never) => other,
        }
    }
}

#[derive(Debug)]
struct Node<T> {
    start: Bytes,
    end: End,
    max_end: End,
    priority: u64,
    value: T,
    left: Option<Box<Node<T>>>,
    right: Option<Box<Node<T>>>,
}

/// Ranges of keys, each with a value.
#[derive(Debug)]
pub(crate) struct IntervalIndex<T> {
    keys: HashMap<Bytes, T, RandomHash>,
    root: Option<Box<Node<T>>>,
    /// Random, so that nobody can choose ranges that make the treap deep.
    priorities: RandomHash,
}

type Tree<T> = Option<Box<Node<T>>>;

impl<T> Default for IntervalIndex<T> {
    fn default() -> Self {
        Self { keys: HashMap::default(), root: None, priorities: RandomHash::default() }
    }
}

impl<T: Clone> IntervalIndex<T> {
    /// The value of a range, which is put there if the range is new.
    pub(crate) fn get_or_insert(
        &mut self,
        key: &Bytes,
        range_end: Option<&Bytes>,
        new: impl FnOnce() -> T,
    ) -> T {
        let Some(end) = end_of(range_end) else {
            return self.keys.entry(key.clone()).or_insert_with(new).clone();
        };
        if let Some(value) = find(self.root.as_deref(), key, &end) {
            return value.clone();
        }
        let priority = self.priorities.hash_one((key, range_end));
        let value = new();
        self.root = insert(self.root.take(), key, end, priority, value.clone());
        value
    }
}

impl<T> IntervalIndex<T> {
    /// The value of a range.
    pub(crate) fn get(&self, key: &Bytes, range_end: Option<&Bytes>) -> Option<&T> {
        match end_of(range_end) {
            Some(end) => find(self.root.as_deref(), key, &end),
            None => self.keys.get(key),
        }
    }

    /// Takes a range out again.
    pub(crate) fn remove(&mut self, key: &Bytes, range_end: Option<&Bytes>) {
        match end_of(range_end) {
            Some(end) => self.root = remove(self.root.take(), key, &end),
            None => drop(self.keys.remove(key)),
        }
    }

    /// Visits every range that a key lies in.
    pub(crate) fn visit(&self, key: &[u8], visit: &mut impl FnMut(&T)) {
        if let Some(value) = self.keys.get(key) {
            visit(value);
        }
        stab(self.root.as_deref(), key, visit);
    }

    /// Visits every range.
    pub(crate) fn visit_all(&self, visit: &mut impl FnMut(&T)) {
        self.keys.values().for_each(&mut *visit);
        let mut stack: Vec<&Node<T>> = self.root.as_deref().into_iter().collect();
        while let Some(node) = stack.pop() {
            visit(&node.value);
            stack.extend(node.left.as_deref());
            stack.extend(node.right.as_deref());
        }
    }
}

fn find<'t, T>(mut tree: Option<&'t Node<T>>, start: &Bytes, end: &End) -> Option<&'t T> {
    while let Some(node) = tree {
        tree = match compare(start, end, &node.start, &node.end) {
            Ordering::Equal => return Some(&node.value),
            Ordering::Less => node.left.as_deref(),
            Ordering::Greater => node.right.as_deref(),
        };
    }
    None
}

fn end_of(range_end: Option<&Bytes>) -> Option<End> {
    range_end.map(|end| if &end[..] == b"\0" { End::Never } else { End::Before(end.clone()) })
}

fn compare(start: &Bytes, end: &End, node_start: &Bytes, node_end: &End) -> Ordering {
    start.cmp(node_start).then_with(|| match (end, node_end) {
        (End::Before(a), End::Before(b)) => a.cmp(b),
        (End::Never, End::Never) => Ordering::Equal,
        (End::Never, End::Before(_)) => Ordering::Greater,
        (End::Before(_), End::Never) => Ordering::Less,
    })
}

impl<T> Node<T> {
    fn update(&mut self) {
        let mut max = &self.end;
        for child in [&self.left, &self.right].into_iter().flatten() {
            max = max.max(&child.max_end);
        }
        if self.max_end != *max {
            self.max_end = max.clone();
        }
    }
}

fn insert<T>(tree: Tree<T>, start: &Bytes, end: End, priority: u64, value: T) -> Tree<T> {
    let Some(mut node) = tree else {
        let max_end = end.clone();
        return Some(Box::new(Node {
            start: start.clone(),
            end,
            max_end,
            priority,
            value,
            left: None,
            right: None,
        }));
    };
    match compare(start, &end, &node.start, &node.end) {
        Ordering::Equal => node.value = value,
        Ordering::Less => {
            node.left = insert(node.left.take(), start, end, priority, value);
            if node.left.as_ref().is_some_and(|left| left.priority > node.priority) {
                return rotate_right(Some(node));
            }
        }
        Ordering::Greater => {
            node.right = insert(node.right.take(), start, end, priority, value);
            if node.right.as_ref().is_some_and(|right| right.priority > node.priority) {
                return rotate_left(Some(node));
            }
        }
    }
    node.update();
    Some(node)
}

fn rotate_right<T>(tree: Tree<T>) -> Tree<T> {
    let mut node = tree?;
    let Some(mut left) = node.left.take() else { return Some(node) };
    node.left = left.right.take();
    node.update();
    left.right = Some(node);
    left.update();
    Some(left)
}

fn rotate_left<T>(tree: Tree<T>) -> Tree<T> {
    let mut node = tree?;
    let Some(mut right) = node.right.take() else { return Some(node) };
    node.right = right.left.take();
    node.update();
    right.left = Some(node);
    right.update();
    Some(right)
}

fn remove<T>(tree: Tree<T>, start: &Bytes, end: &End) -> Tree<T> {
    let mut node = tree?;
    match compare(start, end, &node.start, &node.end) {
        Ordering::Less => node.left = remove(node.left.take(), start, end),
        Ordering::Greater => node.right = remove(node.right.take(), start, end),
        Ordering::Equal => return merge(node.left.take(), node.right.take()),
    }
    node.update();
    Some(node)
}

/// Joins two trees of which the first is wholly before the second.
fn merge<T>(left: Tree<T>, right: Tree<T>) -> Tree<T> {
    match (left, right) {
        (None, tree) | (tree, None) => tree,
        (Some(mut left), Some(mut right)) => {
            if left.priority > right.priority {
                left.right = merge(left.right.take(), Some(right));
                left.update();
                Some(left)
            } else {
                right.left = merge(Some(left), right.left.take());
                right.update();
                Some(right)
            }
        }
    }
}

fn stab<T>(tree: Option<&Node<T>>, key: &[u8], visit: &mut impl FnMut(&T)) {
    let Some(node) = tree else { return };
    if !node.max_end.is_after(key) {
        return;
    }
    stab(node.left.as_deref(), key, visit);
    if &node.start[..] <= key {
        if node.end.is_after(key) {
            visit(&node.value);
        }
        stab(node.right.as_deref(), key, visit);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::mvcc::KeyRange;

    fn key() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(0_u8..4, 1..3).prop_map(Bytes::from)
    }

    fn range() -> impl Strategy<Value = (Bytes, Option<Bytes>)> {
        (key(), prop_oneof![Just(None), key().prop_map(Some), Just(Some(Bytes::from_static(b"\0")))])
    }

    proptest! {
        #[test]
        fn it_finds_exactly_the_ranges_with_the_key(
            ranges in proptest::collection::vec((range(), any::<bool>()), 0..40),
            keys in proptest::collection::vec(key(), 1..20),
        ) {
            let mut index = IntervalIndex::default();
            let mut model = BTreeSet::new();
            for ((start, end), _) in &ranges {
                index.get_or_insert(start, end.as_ref(), || (start.clone(), end.clone()));
                model.insert((start.clone(), end.clone()));
            }
            for ((start, end), gone) in &ranges {
                if *gone {
                    index.remove(start, end.as_ref());
                    model.remove(&(start.clone(), end.clone()));
                }
            }
            for key in keys {
                let mut found = BTreeSet::new();
                index.visit(&key, &mut |range| assert!(found.insert(range.clone()), "each range once"));
                let wanted: BTreeSet<_> = model.iter()
                    .filter(|(start, end)| KeyRange::new(start, end.as_ref()).contains(&key))
                    .cloned()
                    .collect();
                prop_assert_eq!(found, wanted);
            }
            for ((start, end), _) in &ranges {
                let range = (start.clone(), end.clone());
                prop_assert_eq!(index.get(start, end.as_ref()), model.get(&range));
            }
            let mut all = 0;
            index.visit_all(&mut |_| all += 1);
            prop_assert_eq!(all, model.len());
        }
    }
}
