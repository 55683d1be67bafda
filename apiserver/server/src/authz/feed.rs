//! Keeps the index up to date: built once from the cache, then changed by every event of a role or binding.

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt as _};
use mainstay_apiserver_kinds::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_proto_api::Status;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::authorizer::Authorizer;
use super::index::{Binding, RbacIndex, Scope};
use super::rule::PolicyRule;
use crate::cache::{Cached, ChangeKind, Cursor, CursorEnd, Event};
use crate::registry::Registry;

/// The kinds that make up the policy.
const POLICY: [&Kind; 4] = [&ROLE, &CLUSTER_ROLE, &ROLE_BINDING, &CLUSTER_ROLE_BINDING];

/// The policy's cursors: where the next events come from.
pub struct PolicyFeed {
    registry: Registry,
    authorizer: Authorizer,
    index: RbacIndex,
    cursors: Vec<Cursor>,
}

impl PolicyFeed {
    /// Loads the policy from the cache, so that the authorizer answers from it when this returns.
    ///
    /// # Errors
    /// A policy kind that is not stored.
    pub fn load(registry: Registry, authorizer: Authorizer) -> Result<Self, Status> {
        let mut feed = Self { registry, authorizer, index: RbacIndex::default(), cursors: Vec::new() };
        feed.reload()?;
        Ok(feed)
    }

    /// Follows the events until `stop` or until the cache closes.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // A dropped wait loses nothing: cursors move only when they deliver.
                more = self.follow() => match more {
                    Ok(()) => {}
                    Err(CursorEnd::Closed) => return,
                    Err(CursorEnd::Lagged) => {
                        warn!("the policy index fell behind and is built anew");
                        if let Err(error) = self.reload() {
                            error!(error = %error.message, "the policy index cannot be built");
                            return;
                        }
                    }
                },
            }
        }
    }

    fn reload(&mut self) -> Result<(), Status> {
        self.index = RbacIndex::default();
        self.cursors.clear();
        for kind in POLICY {
            let (snapshot, cursor) = self.registry.cache(kind)?.snapshot_and_cursor();
            for object in snapshot.iter() {
                put(&mut self.index, object);
            }
            self.cursors.push(cursor);
        }
        self.authorizer.replace(self.index.clone());
        Ok(())
    }

    async fn follow(&mut self) -> Result<(), CursorEnd> {
        let events = {
            let mut waits: FuturesUnordered<_> = self.cursors.iter_mut().map(Cursor::next).collect();
            match waits.next().await {
                Some(events) => events?,
                None => return Err(CursorEnd::Closed),
            }
        };
        for event in &events {
            apply(&mut self.index, event);
        }
        self.authorizer.replace(self.index.clone());
        Ok(())
    }
}

fn apply(index: &mut RbacIndex, event: &Arc<Event>) {
    match event.change {
        ChangeKind::Added | ChangeKind::Modified => put(index, &event.object),
        ChangeKind::Deleted => remove(index, &event.object),
    }
}

fn put(index: &mut RbacIndex, object: &Cached) {
    let at = scope(object);
    let value = match object.decode() {
        Ok(value) => value,
        Err(error) => {
            error!(%error, "a role or binding cannot be read and grants nothing");
            return remove(index, object);
        }
    };
    if is_binding(object) {
        index.set_binding(&at, Binding::from_value(&value, &at.namespace));
    } else {
        index.set_role(at, PolicyRule::list_from(&value));
    }
}

fn remove(index: &mut RbacIndex, object: &Cached) {
    let at = scope(object);
    if is_binding(object) {
        index.remove_binding(&at);
    } else {
        index.remove_role(&at);
    }
}

fn is_binding(object: &Cached) -> bool {
    matches!(object.kind.kind, "RoleBinding" | "ClusterRoleBinding")
}

fn scope(object: &Cached) -> Scope {
    Scope { namespace: object.header.namespace.clone(), name: object.header.name.clone() }
}
