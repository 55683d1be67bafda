//! Policies with their bindings, read again when one of them changed.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use tokio::sync::watch;

use super::read::{Binding, Policy};
use crate::registry::Registry;

/// A policy and the bindings that put it to work.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) policy: Policy,
    pub(super) bindings: Vec<Binding>,
}

/// What was read as of two changes.
struct Read {
    changes: (u64, u64),
    bound: Arc<[Bound]>,
}

/// The policies of one kind.
pub(super) struct Source {
    registry: Registry,
    policies: &'static Kind,
    bindings: &'static Kind,
    changes: (watch::Receiver<u64>, watch::Receiver<u64>),
    read: ArcSwap<Read>,
}

impl Source {
    /// Policies and bindings of these kinds.
    ///
    /// # Errors
    /// 405 for kinds that are not stored.
    pub(super) fn new(
        registry: Registry,
        policies: &'static Kind,
        bindings: &'static Kind,
    ) -> Result<Self, Status> {
        let changes = (registry.changes(policies)?, registry.changes(bindings)?);
        let none = Read { changes: (u64::MAX, u64::MAX), bound: Arc::from([]) };
        Ok(Self { registry, policies, bindings, changes, read: ArcSwap::from_pointee(none) })
    }

    /// The policies that have bindings, now.
    ///
    /// # Errors
    /// Objects that cannot be read.
    pub(super) fn bound(&self) -> Result<Arc<[Bound]>, Status> {
        let changes = (*self.changes.0.borrow(), *self.changes.1.borrow());
        let read = self.read.load();
        if read.changes == changes {
            return Ok(Arc::clone(&read.bound));
        }
        let mut bindings: Vec<Binding> = self.all(self.bindings, Binding::read)?;
        let policies: Vec<Policy> = self.all(self.policies, Policy::read)?;
        let mut bound = Vec::new();
        for policy in policies {
            let (own, others) = bindings.into_iter().partition(|binding| binding.policy == policy.name);
            bindings = others;
            if !own.is_empty() {
                bound.push(Bound { policy, bindings: own });
            }
        }
        let bound: Arc<[Bound]> = bound.into();
        self.read.store(Arc::new(Read { changes, bound: Arc::clone(&bound) }));
        Ok(bound)
    }

    fn all<T>(&self, kind: &'static Kind, read: fn(&Value) -> Result<T, String>) -> Result<Vec<T>, Status> {
        let mut out = Vec::new();
        for cached in self.registry.cache(kind)?.snapshot().iter() {
            let object = self.registry.decode_served(kind, cached)?;
            let one = read(&object);
            out.push(
                one.map_err(|why| Status::internal(format!("{} {}: {why}", kind.kind, cached.header.name)))?,
            );
        }
        Ok(out)
    }
}
