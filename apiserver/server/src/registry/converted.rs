//! [`Converted`]: what webhooks have converted, kept so that a webhook is not asked twice about the same state of an
//! object. Bounded; the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_store::Revision;

use crate::cache::{Cached, Uid};

/// Bytes of objects that are kept.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// What one entry takes besides the object's own bytes, about.
const ENTRY_BYTES: usize = 512;

/// An object's state: its uid, the revision, and the version that is shown. Kinds are compared by address, as each has
/// one only.
type Key = (Uid, Revision, usize);

/// The objects that were converted.
#[derive(Default)]
pub(super) struct Converted {
    /// By state, with the converter that made it.
    entries: HashMap<Key, (Arc<Value>, Arc<Cached>)>,
    order: VecDeque<Key>,
    bytes: usize,
}

fn key(kind: &'static Kind, object: &Cached) -> Key {
    (object.header.uid.clone(), object.header.revision, std::ptr::from_ref(kind) as usize)
}

impl Converted {
    /// What `converter` made of `object`, where that is still known.
    pub(super) fn get(
        &self,
        kind: &'static Kind,
        converter: &Arc<Value>,
        object: &Cached,
    ) -> Option<Arc<Cached>> {
        let (by, found) = self.entries.get(&key(kind, object))?;
        Arc::ptr_eq(by, converter).then(|| Arc::clone(found))
    }

    /// Keeps what `converter` made of `object`. States that are not stored (dry runs) are not kept.
    pub(super) fn put(
        &mut self,
        kind: &'static Kind,
        converter: &Arc<Value>,
        object: &Cached,
        made: &Arc<Cached>,
    ) {
        if object.header.revision == Revision(0) || object.header.uid.is_empty() {
            return;
        }
        let key = key(kind, object);
        self.bytes += weight(made);
        match self.entries.insert(key.clone(), (Arc::clone(converter), Arc::clone(made))) {
            Some((_, replaced)) => self.bytes -= weight(&replaced),
            None => self.order.push_back(key),
        }
        while self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.order.pop_front().and_then(|key| self.entries.remove(&key)) else {
                break;
            };
            self.bytes -= weight(&oldest);
        }
    }
}

fn weight(object: &Cached) -> usize {
    object.raw.len() + ENTRY_BYTES
}
