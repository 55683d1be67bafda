//! The objects of one resource at one moment: a sorted set, and for each field that the kind has an index of, the same
//! objects by its value. All of it is persistent: a copy shares everything with its original.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use mainstay_apiserver_machinery::kind::Kind;
use smol_str::SmolStr;

use super::cached::{Entry, ObjectName};
use super::{Cached, Interest};

/// Objects in the store's key order, and their indexes.
#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    all: OrdSet<Entry>,
    indexes: Vec<Index>,
}

/// The objects that have a value in one field, by that value.
#[derive(Debug, Clone)]
struct Index {
    field: &'static str,
    by_value: OrdMap<SmolStr, OrdSet<Entry>>,
}

impl Objects {
    /// No objects yet, with the indexes that `kind` asks for. The fields of a custom kind's versions may differ, so it
    /// has none.
    pub(super) fn of_kind(kind: &'static Kind) -> Self {
        let fields = if kind.is_custom { &[] } else { kind.rules.indexed_fields() };
        let indexes = fields.iter().map(|field| Index { field, by_value: OrdMap::new() }).collect();
        Self { all: OrdSet::new(), indexes }
    }

    /// Every object, in key order.
    pub(super) fn all(&self) -> &OrdSet<Entry> {
        &self.all
    }

    /// One object.
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Cached>> {
        self.all.get(&ObjectName { namespace, name }).map(|entry| &entry.0)
    }

    /// Puts an object in the place of the one that has its name, which is returned.
    pub(super) fn insert(&mut self, object: &Arc<Cached>) -> Option<Arc<Cached>> {
        let previous = self.all.insert(Entry(Arc::clone(object))).map(|entry| entry.0);
        for index in &mut self.indexes {
            index.replace(previous.as_ref(), Some(object));
        }
        previous
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<Cached>> {
        let gone = self.all.remove(&ObjectName { namespace, name })?.0;
        for index in &mut self.indexes {
            index.replace(Some(&gone), None);
        }
        Some(gone)
    }

    /// Those that a watcher of `interest` can want: as few as can be found without looking at each, and perhaps others.
    pub(super) fn narrowed(&self, interest: &Interest) -> Self {
        let all = match interest {
            Interest::Everything | Interest::Namespace(_) | Interest::Name(_) => return self.clone(),
            Interest::Object { namespace, name } => {
                self.get(namespace, name).map(|object| Entry(Arc::clone(object))).into_iter().collect()
            }
            Interest::Field { field, value } => {
                let Some(index) = self.indexes.iter().find(|index| index.field == *field) else {
                    return self.clone();
                };
                index.by_value.get(value).cloned().unwrap_or_default()
            }
        };
        Self { all, indexes: Vec::new() }
    }
}

impl Extend<Cached> for Objects {
    fn extend<T: IntoIterator<Item = Cached>>(&mut self, objects: T) {
        for object in objects {
            self.insert(&Arc::new(object));
        }
    }
}

impl Index {
    /// Puts `new` in the place of `old`; either may be absent, both are of one name.
    fn replace(&mut self, old: Option<&Arc<Cached>>, new: Option<&Arc<Cached>>) {
        let field = self.field;
        let with_value = |object| value_of(object, field).map(|value| (value, Entry(Arc::clone(object))));
        let (old, new) = (old.and_then(with_value), new.and_then(with_value));
        if let Some((value, entry)) = &old
            && new.as_ref().is_none_or(|(after, _)| after != value)
            && let Some(objects) = self.by_value.get_mut(*value)
        {
            objects.remove(entry);
            if objects.is_empty() {
                self.by_value.remove(*value);
            }
        }
        let Some((value, entry)) = new else { return };
        match self.by_value.get_mut(value) {
            Some(objects) => drop(objects.insert(entry)),
            None => drop(self.by_value.insert(value.into(), OrdSet::unit(entry))),
        }
    }
}

fn value_of<'a>(object: &'a Arc<Cached>, field: &str) -> Option<&'a str> {
    object.header.field(field).filter(|value| !value.is_empty())
}
