//! [`compare`]: which fields a new state adds, changes and removes. The cost of what is equal is one walk, without
//! allocation.

use super::element::{Element, same};
use super::field_set::{Entry, FieldSet};
use super::items;
use super::shape::{Shape, Walk};
use super::typed_error::TypedError;
use crate::schema::Field;
use crate::value::{Map, Value};
use std::cmp::Ordering;
use std::sync::Arc;

/// How two states differ; no path is in more than one set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Only in the new state.
    pub added: FieldSet,
    /// In both, but different.
    pub modified: FieldSet,
    /// Only in the old state.
    pub removed: FieldSet,
}

impl Changes {
    /// Whether the states have the same fields with the same values.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// The same changes but for the `reset` fields and what is below them.
    pub(super) fn without(self, reset: &FieldSet) -> Self {
        if reset.is_empty() || self.is_empty() {
            return self;
        }
        Self {
            added: self.added.difference_below(reset),
            modified: self.modified.difference_below(reset),
            removed: self.removed.difference_below(reset),
        }
    }
}

/// What became of one path and of those below it.
#[derive(Default)]
struct Found {
    added: bool,
    modified: bool,
    removed: bool,
    below: Below,
}

/// Entries in the making, sorted.
#[derive(Default)]
struct Below {
    added: Vec<Entry>,
    modified: Vec<Entry>,
    removed: Vec<Entry>,
}

impl Below {
    fn put(&mut self, element: &Element, found: Found) {
        let below = found.below;
        for (into, member, entries) in [
            (&mut self.added, found.added, below.added),
            (&mut self.modified, found.modified, below.modified),
            (&mut self.removed, found.removed, below.removed),
        ] {
            if member || !entries.is_empty() {
                let below = Some(Arc::new(FieldSet { entries }));
                into.extend(Entry::of(element.clone(), member, below));
            }
        }
    }

    fn changes(self) -> Changes {
        Changes {
            added: FieldSet::from_entries(self.added),
            modified: FieldSet::from_entries(self.modified),
            removed: FieldSet::from_entries(self.removed),
        }
    }
}

impl Found {
    const fn nothing(&self) -> bool {
        !(self.added || self.modified || self.removed)
            && self.below.added.is_empty()
            && self.below.modified.is_empty()
            && self.below.removed.is_empty()
    }

    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Self {
        match (old, new) {
            (None, _) => Self { added: true, ..Self::default() },
            (_, None) => Self { removed: true, ..Self::default() },
            (Some(old), Some(new)) => Self { modified: !same(old, new), ..Self::default() },
        }
    }
}

/// Stands for a field that upstream's structs always have.
static NULL: Value = Value::Null;

/// What differs between `old` and `new`, both of that shape. The owners that `metadata.managedFields` lists are not
/// looked at. Lists may hold items that cannot be told apart.
///
/// # Errors
/// A list with items that have none of its keys.
pub fn compare(shape: Shape<'_>, old: &Value, new: &Value) -> Result<Changes, TypedError> {
    Ok(differ(shape, Some(old), Some(new))?.below.changes())
}

fn differ(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) -> Result<Found, TypedError> {
    let (before, after) = (shape.walk(old), shape.walk(new));
    let wild = |value: Option<&Value>| value.is_none_or(Value::is_null);
    let mut found = if new.is_none() {
        walk(shape, before, old, new)?
    } else if old.is_none() || before == after {
        walk(shape, after, old, new)?
    } else {
        // Untyped, and of another kind than before. A null takes the form of the other side.
        let mut found = if wild(old) { Found::default() } else { walk(shape, before, old, new)? };
        let more = walk(shape, after, old, new)?;
        found.added |= more.added;
        found.modified |= more.modified;
        found.removed |= more.removed;
        found.below.added.extend(more.below.added);
        found.below.modified.extend(more.below.modified);
        found.below.removed.extend(more.below.removed);
        found
    };
    found.added |= old.is_none() && new.is_some();
    found.removed |= new.is_none() && old.is_some();
    Ok(found)
}

/// The members of an object; none of anything else.
fn map(value: Option<&Value>) -> &Map {
    static EMPTY: Map = Map::new();
    value.and_then(Value::as_map).unwrap_or(&EMPTY)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_list).unwrap_or_default()
}

fn walk(shape: Shape<'_>, walk: Walk, old: Option<&Value>, new: Option<&Value>) -> Result<Found, TypedError> {
    match walk {
        Walk::Map if !(map(old).is_empty() && map(new).is_empty()) => members(shape, old, new),
        Walk::List if !(list(old).is_empty() && list(new).is_empty()) => listed(shape, list(old), list(new)),
        _ => Ok(Found::leaf(old, new)),
    }
}

/// The members of both sides in one pass.
fn members(shape: Shape<'_>, old: Option<&Value>, new: Option<&Value>) -> Result<Found, TypedError> {
    let (mut left, mut right) = (map(old).iter().peekable(), map(new).iter().peekable());
    let mut below = Below::default();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return Ok(Found { below, ..Found::default() }),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let one = if order.is_le() { left.next() } else { None };
        let two = if order.is_ge() { right.next() } else { None };
        let Some(name) = one.or(two).map(|(name, _)| name) else { continue };
        if name == "managedFields" && is_object_meta(shape) {
            continue;
        }
        let Some((child, field)) = shape.member(name) else { continue };
        let old_child = one.map(|(_, value)| value).or_else(|| absent(field, old.is_some()));
        let new_child = two.map(|(_, value)| value).or_else(|| absent(field, new.is_some()));
        let found = differ(child, old_child, new_child);
        match found {
            Ok(found) if found.nothing() => {}
            Ok(found) => below.put(&Element::Field(name.clone()), found),
            Err(error) => return Err(error.at(&Element::Field(name.clone()))),
        }
    }
}

/// What stands for an absent field in upstream's struct, when the struct itself is there.
fn absent(field: Option<&'static Field>, present: bool) -> Option<&'static Value> {
    let field = field.filter(|field| present && field.is_always_written())?;
    Some(field.zero.as_ref().unwrap_or(&NULL))
}

fn is_object_meta(shape: Shape<'_>) -> bool {
    matches!(shape, Shape::Struct { ty, .. } if ty.name == "meta/v1.ObjectMeta")
}

/// The items of both sides. Items that cannot be told apart count as one, owned as a whole.
fn listed(shape: Shape<'_>, old: &[Value], new: &[Value]) -> Result<Found, TypedError> {
    let mut below = Below::default();
    if old == new {
        return Ok(Found::default());
    }
    let (before, after) = (sorted(items::elements(shape, old)?), sorted(items::elements(shape, new)?));
    let (mut left, mut right) = (runs(&before).peekable(), runs(&after).peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return Ok(Found { below, ..Found::default() }),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.0.cmp(b.0),
        };
        let one = if order.is_le() { left.next() } else { None };
        let two = if order.is_ge() { right.next() } else { None };
        let Some(element) = one.as_ref().or(two.as_ref()).map(|run| run.0) else { continue };
        let places = |run: Option<(&Element, &[(Element, usize)])>| -> Vec<usize> {
            run.map(|(_, run)| run.iter().map(|(_, at)| *at).collect()).unwrap_or_default()
        };
        let (one, two) = (places(one), places(two));
        let found = item(shape.item(), (old, &one), (new, &two)).map_err(|error| error.at(element))?;
        if !found.nothing() {
            below.put(element, found);
        }
    }
}

fn item(
    shape: Shape<'_>,
    (old, before): (&[Value], &[usize]),
    (new, after): (&[Value], &[usize]),
) -> Result<Found, TypedError> {
    let first_old = before.first().and_then(|at| old.get(*at));
    let first_new = after.first().and_then(|at| new.get(*at));
    match (before.len(), after.len()) {
        (0 | 1, 0 | 1) => differ(shape, first_old, first_new),
        (2.., 2..) => {
            let equal = before.len() == after.len()
                && before.iter().zip(after).all(|(a, b)| match (old.get(*a), new.get(*b)) {
                    (Some(a), Some(b)) => same(a, b),
                    _ => false,
                });
            Ok(Found { modified: !equal, ..Found::default() })
        }
        (2.., _) => {
            let mut found = match first_new {
                Some(new) => differ(shape, None, Some(new))?,
                None => Found::default(),
            };
            found.removed = true;
            Ok(found)
        }
        (_, _) => {
            let mut found = match first_old {
                Some(old) => differ(shape, Some(old), None)?,
                None => Found::default(),
            };
            found.added = true;
            Ok(found)
        }
    }
}

/// Elements with their places, sorted.
fn sorted(elements: Vec<Element>) -> Vec<(Element, usize)> {
    let mut sorted: Vec<_> = elements.into_iter().enumerate().map(|(at, element)| (element, at)).collect();
    sorted.sort();
    sorted
}

/// Equal elements together.
fn runs(sorted: &[(Element, usize)]) -> impl Iterator<Item = (&Element, &[(Element, usize)])> {
    sorted.chunk_by(|a, b| a.0 == b.0).filter_map(|run| Some((&run.first()?.0, run)))
}
