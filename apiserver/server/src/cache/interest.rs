//! What a watcher can want to hear of at most: by this the cache knows whom an event concerns. Pure.

use smol_str::SmolStr;

use super::{Cached, Event};

/// A bound on the events that a watcher wants. Coarser than its selection, never narrower.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Every event.
    Everything,
    /// Those of one namespace.
    Namespace(SmolStr),
    /// Those of objects with this name, in whatever namespace they have.
    Name(SmolStr),
    /// Those of one object.
    Object {
        /// Its namespace; empty for one that has none.
        namespace: SmolStr,
        /// Its name.
        name: SmolStr,
    },
    /// Those of objects whose selectable field has this value, or had it until the event: a node's pods.
    Field {
        /// Such as `spec.nodeName`.
        field: &'static str,
        /// The value; not empty.
        value: SmolStr,
    },
}

impl Interest {
    /// Calls `each` with every interest but [`Interest::Everything`] that `event` concerns; with some perhaps twice.
    pub(super) fn of_event(event: &Event, mut each: impl FnMut(&Self)) {
        let header = &event.object.header;
        each(&Self::Object { namespace: header.namespace.clone(), name: header.name.clone() });
        if !header.namespace.is_empty() {
            each(&Self::Name(header.name.clone()));
            each(&Self::Namespace(header.namespace.clone()));
        }
        let mut fields = |state: &Cached, except: Option<&Cached>| {
            for (field, value) in state.header.fields.iter() {
                let is_known = except.is_some_and(|except| except.header.field(field) == Some(value));
                if !value.is_empty() && !is_known {
                    each(&Self::Field { field, value: value.into() });
                }
            }
        };
        fields(&event.object, None);
        if let Some(previous) = &event.previous {
            fields(previous, Some(&event.object));
        }
    }
}
