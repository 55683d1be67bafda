//! The hooks of all configurations of one kind, by configuration name; read again when a configuration changed.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_proto_api::Status;
use tokio::sync::watch;

use super::hook::{Hook, hooks_of};
use crate::registry::Registry;

/// Hooks as of a change of the configurations.
struct Read {
    change: u64,
    hooks: Arc<[Hook]>,
}

/// The hooks of one kind of configuration.
pub(super) struct Source {
    registry: Registry,
    kind: &'static Kind,
    changes: watch::Receiver<u64>,
    read: ArcSwap<Read>,
}

impl Source {
    /// The hooks of `kind`'s objects.
    ///
    /// # Errors
    /// 405 for a kind that is not stored.
    pub(super) fn new(registry: Registry, kind: &'static Kind) -> Result<Self, Status> {
        let changes = registry.changes(kind)?;
        let none = Read { change: u64::MAX, hooks: Arc::from([]) };
        Ok(Self { registry, kind, changes, read: ArcSwap::from_pointee(none) })
    }

    /// The hooks now.
    ///
    /// # Errors
    /// A configuration that cannot be decoded.
    pub(super) fn hooks(&self) -> Result<Arc<[Hook]>, Status> {
        let change = *self.changes.borrow();
        let read = self.read.load();
        if read.change == change {
            return Ok(Arc::clone(&read.hooks));
        }
        let mut hooks = Vec::new();
        for cached in self.registry.cache(self.kind)?.snapshot().iter() {
            let configuration = self.registry.decode_served(self.kind, cached)?;
            match hooks_of(&configuration) {
                Ok(mut found) => hooks.append(&mut found),
                Err(why) => return Err(Status::internal(format!("{}: {why}", self.kind.kind))),
            }
        }
        let hooks: Arc<[Hook]> = hooks.into();
        self.read.store(Arc::new(Read { change, hooks: Arc::clone(&hooks) }));
        Ok(hooks)
    }
}
