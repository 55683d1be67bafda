//! What writers of this server have encoded, for the feed: it hears of a write a moment later, and need not decode again what is known already.
//!
//! A draft is handed over before its write, because the feed may hear of it before the writer does. It is taken only for the very bytes
//! that it was made of: the store in this process hands on the value that it was given. Whatever came another way, from another server or through
//! a store behind etcd's API, is decoded as ever; so nothing depends on a draft's being here.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_store::{KeyValue, Revision};
use parking_lot::Mutex;

use super::commons::Commons;
use super::{Cached, Header, Raw, splice};

/// So many drafts wait at most; what is written beyond that is decoded.
const DRAFTS_MAX: usize = 4096;

/// Drafts of writes under way, by key.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    drafts: Mutex<HashMap<Bytes, Arc<Draft>, RandomState>>,
    commons: Commons,
}

/// An object that is being written.
#[derive(Debug)]
struct Draft {
    /// What is written.
    value: Bytes,
    kind: &'static Kind,
    /// Without revision.
    header: Header,
    /// The protobuf message, without resource version.
    message: Bytes,
    /// Made by whichever of both needs it first.
    made: OnceLock<Option<Arc<Cached>>>,
}

/// A draft as its writer holds it. Unless it was written, it is withdrawn when this is dropped.
#[derive(Debug)]
pub(crate) struct Handed<'h> {
    handover: &'h Handover,
    key: Bytes,
    draft: Arc<Draft>,
    is_written: bool,
}

impl Handover {
    /// Hands over an object in its stored form that is about to be written as `value`. Its header has no revision yet, `message` no resource version.
    pub(crate) fn offer(
        &self,
        key: Bytes,
        value: Bytes,
        (kind, header, message): (&'static Kind, Header, Bytes),
    ) -> Handed<'_> {
        let draft = Arc::new(Draft { value, kind, header, message, made: OnceLock::new() });
        let mut drafts = self.drafts.lock();
        if drafts.len() < DRAFTS_MAX {
            drafts.insert(key.clone(), Arc::clone(&draft));
        }
        drop(drafts);
        Handed { handover: self, key, draft, is_written: false }
    }

    /// The object of a write that the feed hears of, if it was made of these very bytes, as an object of `kind`.
    pub(super) fn take(&self, kind: &'static Kind, kv: &KeyValue) -> Option<Arc<Cached>> {
        // In any case: of two writes of a key at once only one is known, and where bytes come another way none would ever be taken.
        let draft = self.drafts.lock().remove(&kv.key)?;
        // The draft keeps its bytes alive, so no others can be in their place.
        let is_same = draft.value.as_ptr() == kv.value.as_ptr() && draft.value.len() == kv.value.len();
        if is_same && std::ptr::eq(draft.kind, kind) {
            draft.cached(kv.mod_revision, &self.commons)
        } else {
            None
        }
    }

    /// Forgets all drafts: the feed will not hear of what was written up to now.
    pub(super) fn forget(&self) {
        self.drafts.lock().clear();
    }

    /// What many objects have in common.
    pub(super) fn commons(&self) -> &Commons {
        &self.commons
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.drafts.lock().len()
    }
}

impl Draft {
    fn cached(&self, revision: Revision, commons: &Commons) -> Option<Arc<Cached>> {
        let make = || {
            let raw = splice::with_resource_version(&self.message, revision).ok()?;
            let header = Header { revision, ..self.header.clone() };
            let cached = Cached { header, kind: self.kind, raw: Raw::whole(raw) };
            Some(Arc::new(cached.sharing(commons)))
        };
        // A draft is of one write, so of one revision.
        let cached = self.made.get_or_init(make).as_ref()?;
        (cached.header.revision == revision).then(|| Arc::clone(cached))
    }
}

impl Handed<'_> {
    /// The object as it was written under `revision`; none if its bytes cannot be read. The feed will hear of it, or has.
    pub(crate) fn written(mut self, revision: Revision) -> Option<Arc<Cached>> {
        self.is_written = true;
        self.draft.cached(revision, &self.handover.commons)
    }
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        if self.is_written {
            return;
        }
        let mut drafts = self.handover.drafts.lock();
        if drafts.get(&self.key).is_some_and(|draft| Arc::ptr_eq(draft, &self.draft)) {
            drafts.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_apiserver_kinds::{CONFIG_MAP, SECRET};
    use mainstay_apiserver_machinery::value::Value;
    use mainstay_apiserver_machinery::{protobuf, value};
    use mainstay_proto_api::Gvk;

    use super::*;

    const KEY: Bytes = Bytes::from_static(b"/registry/configmaps/default/a");

    fn object() -> Value {
        value!({"metadata": {"name": "a", "namespace": "default", "labels": {"app": "web"},
            "uid": "22222222-2222-4222-8222-222222222222"}, "data": {"k": "v"}})
    }

    fn value_and_message() -> (Bytes, Bytes) {
        let mut message = Vec::new();
        protobuf::encode(&object(), CONFIG_MAP.schema(), &mut message).unwrap();
        (protobuf::envelope::wrap(&Gvk::new("", "v1", "ConfigMap"), &message).into(), message.into())
    }

    fn offer<'h>(handover: &'h Handover, value: &Bytes, message: &Bytes) -> Handed<'h> {
        let header = Header::of(&CONFIG_MAP, &object(), Revision(0));
        handover.offer(KEY, value.clone(), (&CONFIG_MAP, header, message.clone()))
    }

    fn kv(value: Bytes) -> KeyValue {
        KeyValue { key: KEY, value, mod_revision: Revision(7), ..KeyValue::default() }
    }

    #[test]
    fn what_is_taken_is_what_decoding_would_give_and_both_sides_have_the_same() {
        let handover = Handover::default();
        let (value, message) = value_and_message();
        let handed = offer(&handover, &value, &message);
        let taken = handover.take(&CONFIG_MAP, &kv(value.clone())).unwrap();
        let decoded = Cached::from_store(&CONFIG_MAP, &value, Revision(7), &KEY).unwrap();
        assert_eq!(taken.header, decoded.header);
        assert!(taken.raw == decoded.raw && std::ptr::eq(taken.kind, decoded.kind));
        assert!(Arc::ptr_eq(&handed.written(Revision(7)).unwrap(), &taken));
        assert_eq!(handover.len(), 0);
    }

    #[test]
    fn the_feed_may_hear_of_it_after_the_writer() {
        let handover = Handover::default();
        let (value, message) = value_and_message();
        let written = offer(&handover, &value, &message).written(Revision(7)).unwrap();
        assert!(Arc::ptr_eq(&written, &handover.take(&CONFIG_MAP, &kv(value.clone())).unwrap()));
        assert!(handover.take(&CONFIG_MAP, &kv(value)).is_none(), "once");
    }

    #[test]
    fn equal_bytes_of_another_write_and_other_kinds_are_not_taken() {
        let handover = Handover::default();
        let (value, message) = value_and_message();
        let first = offer(&handover, &value, &message);
        assert!(handover.take(&CONFIG_MAP, &kv(Bytes::copy_from_slice(&value))).is_none());
        assert_eq!(handover.len(), 0, "what comes another way leaves nothing behind");
        let second = offer(&handover, &value, &message);
        assert!(handover.take(&SECRET, &kv(value)).is_none());
        assert!(first.written(Revision(7)).is_some() && second.written(Revision(8)).is_some());
    }

    #[test]
    fn a_draft_that_is_not_written_is_withdrawn_and_no_other() {
        let handover = Handover::default();
        let (value, message) = value_and_message();
        let first = offer(&handover, &value, &message);
        let (other, message) = value_and_message();
        let second = offer(&handover, &other, &message);
        drop(first);
        assert_eq!(handover.len(), 1);
        drop(second);
        assert_eq!(handover.len(), 0);
        assert!(offer(&handover, &value, &message).written(Revision(7)).is_some());
        handover.forget();
        assert_eq!(handover.len(), 0);
    }
}
