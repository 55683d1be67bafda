//! Which kinds are served now: the built-in ones, and those that definitions add and take away.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_apiserver_machinery::kind::Kind;
use tokio::sync::watch;

/// Group, version and resource.
type Key = (&'static str, &'static str, &'static str);

/// The kinds at one moment.
pub struct Kinds {
    /// Counts the changes.
    pub generation: u64,
    list: Vec<&'static Kind>,
    by_resource: HashMap<Key, &'static Kind>,
}

impl Kinds {
    fn new(generation: u64, list: Vec<&'static Kind>) -> Self {
        let by_resource = list.iter().map(|kind| ((kind.group, kind.version, kind.plural), *kind)).collect();
        Self { generation, list, by_resource }
    }

    /// All of them, built-in ones first.
    pub fn all(&self) -> &[&'static Kind] {
        &self.list
    }
}

/// The present kinds. Clones share them.
#[derive(Clone)]
pub struct ServedKinds {
    inner: Arc<Inner>,
}

struct Inner {
    built_in: &'static [&'static Kind],
    current: ArcSwap<Kinds>,
    changed: watch::Sender<u64>,
}

impl ServedKinds {
    /// The built-in kinds only.
    pub fn new(built_in: &'static [&'static Kind]) -> Self {
        let inner = Inner {
            built_in,
            current: ArcSwap::from_pointee(Kinds::new(0, built_in.to_vec())),
            changed: watch::Sender::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The kind served at a group, version and resource.
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
        self.inner.current.load().by_resource.get(&(group, version, resource)).copied()
    }

    /// The kind of a group, version and kind name.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
        let current = self.inner.current.load();
        let mut all = current.list.iter().copied();
        all.find(|one| one.kind == kind && one.version == version && one.group == group)
    }

    /// All kinds as they are now.
    pub fn current(&self) -> Arc<Kinds> {
        self.inner.current.load_full()
    }

    /// Counts the changes; for what is made of the kinds and must be made anew.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Serves `custom` besides the built-in kinds, in place of the custom ones so far. One task calls this.
    pub fn set_custom(&self, custom: &[&'static Kind]) {
        let generation = self.inner.current.load().generation + 1;
        let list = self.inner.built_in.iter().chain(custom).copied().collect();
        self.inner.current.store(Arc::new(Kinds::new(generation, list)));
        self.inner.changed.send_replace(generation);
    }
}
