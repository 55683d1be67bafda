//! Finds the watchers that a key concerns, without looking at the others: a hash table for watches of one key, and for ranges a treap
//! ordered by start in which every node knows the greatest end below it.
use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;

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
    watchers: Vec<(u64, T)>,
    left: Option<Box<Node<T>>>,
    right: Option<Box<Node<T>>>,
}

/// Watchers by what they watch. `T` is what the caller wants back.
#[derive(Debug)]
pub(crate) struct IntervalIndex<T> {
    keys: HashMap<Bytes, Vec<(u64, T)>>,
    root: Option<Box<Node<T>>>,
    /// Random, so that nobody can choose ranges that make the treap deep.
    priorities: RandomState,
    len: usize,
}

type Tree<T> = Option<Box<Node<T>>>;

impl<T> Default for IntervalIndex<T> {
    fn default() -> Self {
        Self { keys: HashMap::new(), root: None, priorities: RandomState::new(), len: 0 }
    }
}

impl<T> IntervalIndex<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a watcher under an identifier that is used once.
    pub(crate) fn insert(&mut self, key: &Bytes, range_end: Option<&Bytes>, id: u64, watcher: T) {
        self.len += 1;
        let Some(end) = end_of(range_end) else {
            self.keys.entry(key.clone()).or_default().push((id, watcher));
            return;
        };
        let priority = self.priorities.hash_one((key, range_end));
        self.root = Some(insert(self.root.take(), key, end, priority, (id, watcher)));
    }

    /// Takes a watcher out again.
    pub(crate) fn remove(&mut self, key: &Bytes, range_end: Option<&Bytes>, id: u64) {
        let removed = if let Some(end) = end_of(range_end) {
            let (root, removed) = remove(self.root.take(), key, &end, id);
            self.root = root;
            removed
        } else {
            let Some(watchers) = self.keys.get_mut(key) else { return };
            let before = watchers.len();
            watchers.retain(|(other, _)| *other != id);
            let removed = watchers.len() < before;
            if watchers.is_empty() {
                self.keys.remove(key);
            }
            removed
        };
        self.len -= usize::from(removed);
    }

    /// Visits every watcher that a key concerns.
    pub(crate) fn visit(&self, key: &[u8], visit: &mut impl FnMut(u64, &T)) {
        for (id, watcher) in self.keys.get(key).into_iter().flatten() {
            visit(*id, watcher);
        }
        stab(self.root.as_deref(), key, visit);
    }

    /// Visits every watcher.
    pub(crate) fn visit_all(&self, visit: &mut impl FnMut(&T)) {
        for (_, watcher) in self.keys.values().flatten() {
            visit(watcher);
        }
        let mut stack: Vec<&Node<T>> = self.root.as_deref().into_iter().collect();
        while let Some(node) = stack.pop() {
            for (_, watcher) in &node.watchers {
                visit(watcher);
            }
            stack.extend(node.left.as_deref());
            stack.extend(node.right.as_deref());
        }
    }
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

fn insert<T>(tree: Tree<T>, start: &Bytes, end: End, priority: u64, watcher: (u64, T)) -> Box<Node<T>> {
    let Some(mut node) = tree else {
        let max_end = end.clone();
        return Box::new(Node {
            start: start.clone(),
            end,
            max_end,
            priority,
            watchers: vec![watcher],
            left: None,
            right: None,
        });
    };
    match compare(start, &end, &node.start, &node.end) {
        Ordering::Equal => node.watchers.push(watcher),
        Ordering::Less => {
            node.left = Some(insert(node.left.take(), start, end, priority, watcher));
            if node.left.as_ref().is_some_and(|left| left.priority > node.priority) {
                return rotate_right(node);
            }
        }
        Ordering::Greater => {
            node.right = Some(insert(node.right.take(), start, end, priority, watcher));
            if node.right.as_ref().is_some_and(|right| right.priority > node.priority) {
                return rotate_left(node);
            }
        }
    }
    node.update();
    node
}

fn rotate_right<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let Some(mut left) = node.left.take() else { return node };
    node.left = left.right.take();
    node.update();
    left.right = Some(node);
    left.update();
    left
}

fn rotate_left<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let Some(mut right) = node.right.take() else { return node };
    node.right = right.left.take();
    node.update();
    right.left = Some(node);
    right.update();
    right
}

fn remove<T>(tree: Tree<T>, start: &Bytes, end: &End, id: u64) -> (Tree<T>, bool) {
    let Some(mut node) = tree else { return (None, false) };
    let removed;
    match compare(start, end, &node.start, &node.end) {
        Ordering::Less => (node.left, removed) = remove(node.left.take(), start, end, id),
        Ordering::Greater => (node.right, removed) = remove(node.right.take(), start, end, id),
        Ordering::Equal => {
            let before = node.watchers.len();
            node.watchers.retain(|(other, _)| *other != id);
            removed = node.watchers.len() < before;
            if node.watchers.is_empty() {
                return (merge(node.left.take(), node.right.take()), removed);
            }
        }
    }
    node.update();
    (Some(node), removed)
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

fn stab<T>(tree: Option<&Node<T>>, key: &[u8], visit: &mut impl FnMut(u64, &T)) {
    let Some(node) = tree else { return };
    if !node.max_end.is_after(key) {
        return;
    }
    stab(node.left.as_deref(), key, visit);
    if &node.start[..] <= key {
        if node.end.is_after(key) {
            for (id, watcher) in &node.watchers {
                visit(*id, watcher);
            }
        }
        stab(node.right.as_deref(), key, visit);
    }
}

#[cfg(test)]
mod tests {
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
            for (id, ((start, end), _)) in ranges.iter().enumerate() {
                index.insert(start, end.as_ref(), id as u64, ());
            }
            for (id, ((start, end), gone)) in ranges.iter().enumerate() {
                if *gone {
                    index.remove(start, end.as_ref(), id as u64);
                }
            }
            prop_assert_eq!(index.len(), ranges.iter().filter(|(_, gone)| !gone).count());
            for key in keys {
                let mut found = Vec::new();
                index.visit(&key, &mut |id, ()| found.push(id as usize));
                found.sort_unstable();
                let wanted: Vec<usize> = ranges.iter().enumerate()
                    .filter(|(_, ((start, end), gone))| !gone && KeyRange::new(start, end.as_ref()).contains(&key))
                    .map(|(id, _)| id)
                    .collect();
                prop_assert_eq!(found, wanted);
            }
            let mut all = 0;
            index.visit_all(&mut |()| all += 1);
            prop_assert_eq!(all, index.len());
        }
    }
}
