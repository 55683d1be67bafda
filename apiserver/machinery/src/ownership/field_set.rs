//! [`FieldSet`]: a set of paths as a tree. Parts that two sets have in common are shared: the operations copy only the
//! way to what differs.

use super::element::Element;
use super::shape::Shape;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A set of paths. Entries are sorted; each is in the set itself, has paths below it, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    pub(super) entries: Vec<Entry>,
}

/// One step, and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) element: Element,
    /// Whether the path that ends here is in the set.
    pub(super) member: bool,
    /// Paths that go on; never an empty set.
    pub(super) below: Option<Arc<FieldSet>>,
}

impl Entry {
    /// An entry, unless it would hold nothing.
    pub(super) fn of(element: Element, member: bool, below: Option<Arc<FieldSet>>) -> Option<Self> {
        let below = below.filter(|set| !set.is_empty());
        (member || below.is_some()).then_some(Self { element, member, below })
    }
}

type Below = Option<Arc<FieldSet>>;

impl FieldSet {
    /// The empty set; allocates nothing.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The set of these paths of member names.
    pub fn of_names(paths: &[&[&str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            let path: Vec<Element> = path.iter().map(|name| Element::field(name)).collect();
            set.insert(&path);
        }
        set
    }

    /// Whether it holds no path.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many paths it holds.
    pub fn len(&self) -> usize {
        let below = |entry: &Entry| entry.below.as_ref().map_or(0, |set| set.len());
        self.entries.iter().map(|entry| usize::from(entry.member) + below(entry)).sum()
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.element.cmp(element))
    }

    pub(super) fn entry(&self, element: &Element) -> Option<&Entry> {
        self.entries.get(self.find(element).ok()?)
    }

    /// Adds a path; the empty one changes nothing.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let at = match self.find(first) {
            Ok(at) => at,
            Err(at) => {
                self.entries.insert(at, Entry { element: first.clone(), member: false, below: None });
                at
            }
        };
        let Some(entry) = self.entries.get_mut(at) else { return };
        if rest.is_empty() {
            entry.member = true;
        } else {
            Arc::make_mut(entry.below.get_or_insert_default()).insert(rest);
        }
    }

    /// The set of these entries in any order; equal steps are joined.
    pub(super) fn from_entries(mut entries: Vec<Entry>) -> Self {
        if !entries.is_sorted_by(|a, b| a.element < b.element) {
            entries.sort_by(|a, b| a.element.cmp(&b.element));
            entries.dedup_by(|later, earlier| {
                let same = later.element == earlier.element;
                if same {
                    earlier.member |= later.member;
                    earlier.below = match (earlier.below.take(), later.below.take()) {
                        (Some(a), Some(b)) => Some(Arc::new(a.union(&b))),
                        (a, b) => a.or(b),
                    };
                }
                same
            });
        }
        Self { entries }
    }

    /// Whether it holds the path.
    pub fn has(&self, path: &[Element]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let Some(entry) = self.entry(first) else { return false };
        if rest.is_empty() { entry.member } else { entry.below.as_ref().is_some_and(|set| set.has(rest)) }
    }

    /// Paths in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if other.is_empty() || std::ptr::eq(self, other) {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        self.join(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Entry::of(
                a.element.clone(),
                a.member || b.member,
                match (&a.below, &b.below) {
                    (Some(a), Some(b)) if !Arc::ptr_eq(a, b) => Some(Arc::new(a.union(b))),
                    (a, b) => a.clone().or_else(|| b.clone()),
                },
            ),
            (a, b) => a.or(b).cloned(),
        })
    }

    /// Paths in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.join(other, |a, b| {
            let (a, b) = (a?, b?);
            let below = match (&a.below, &b.below) {
                (Some(a), Some(b)) if Arc::ptr_eq(a, b) => Some(Arc::clone(a)),
                (Some(a), Some(b)) => Some(Arc::new(a.intersection(b))),
                _ => None,
            };
            Entry::of(a.element.clone(), a.member && b.member, below)
        })
    }

    /// Paths that `other` lacks.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        self.join(other, |a, b| match (a?, b) {
            (a, None) => Some(a.clone()),
            (a, Some(b)) => {
                let below = Self::below(&a.below, &b.below, Self::difference);
                Entry::of(a.element.clone(), a.member && !b.member, below)
            }
        })
    }

    /// Paths of which `other` has neither the whole nor a beginning.
    #[must_use]
    pub fn difference_below(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        self.join(other, |a, b| match (a?, b) {
            (a, None) => Some(a.clone()),
            (_, Some(b)) if b.member => None,
            (a, Some(b)) => {
                let below = Self::below(&a.below, &b.below, Self::difference_below);
                Entry::of(a.element.clone(), a.member, below)
            }
        })
    }

    fn below(a: &Below, b: &Below, without: impl Fn(&Self, &Self) -> Self) -> Below {
        match (a, b) {
            (Some(a), Some(b)) => Some(Arc::new(without(a, b))),
            (a, _) => a.clone(),
        }
    }

    /// One pass over both: `join` says what stays of each step.
    fn join(
        &self,
        other: &Self,
        mut join: impl FnMut(Option<&Entry>, Option<&Entry>) -> Option<Entry>,
    ) -> Self {
        let mut entries = Vec::with_capacity(self.entries.len());
        let (mut left, mut right) = (self.entries.iter().peekable(), other.entries.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return Self { entries },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let one = if order.is_le() { left.next() } else { None };
            let two = if order.is_ge() { right.next() } else { None };
            entries.extend(join(one, two));
        }
    }

    /// The same set, where every declared member that leads on to a path is in the set too.
    #[must_use]
    pub fn with_declared_parents(&self, shape: Shape<'_>) -> Self {
        let entries = self.entries.iter().map(|entry| {
            let (declared, child) = shape.step(&entry.element);
            let below = entry.below.as_ref().map(|set| match child {
                Some(child) => Arc::new(set.with_declared_parents(child)),
                None => Arc::clone(set),
            });
            Entry {
                element: entry.element.clone(),
                member: entry.member || (declared && below.is_some()),
                below,
            }
        });
        Self { entries: entries.collect() }
    }

    /// Calls `visit` with every path, in order: those that end at a step before those that go on from it.
    pub fn each(&self, visit: &mut impl FnMut(&[Element])) {
        self.each_from(&mut Vec::new(), visit);
    }

    fn each_from(&self, path: &mut Vec<Element>, visit: &mut impl FnMut(&[Element])) {
        for (members, entry) in
            self.entries.iter().map(|e| (true, e)).chain(self.entries.iter().map(|e| (false, e)))
        {
            path.push(entry.element.clone());
            match (&entry.below, members) {
                (_, true) if entry.member => visit(path),
                (Some(set), false) => set.each_from(path, visit),
                _ => {}
            }
            path.pop();
        }
    }

    /// Every path as text, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.each(&mut |path| paths.push(path.iter().map(Element::to_string).collect()));
        paths
    }
}

impl fmt::Display for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.paths().join("\n"))
    }
}
