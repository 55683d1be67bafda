//! What is served of definitions at the moment, and the way to change that.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_apiserver_extensions::custom::{Definition, Faces, kinds_of, retire};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_store::DeleteRangeRequest;
use smol_str::SmolStr;
use tracing::{info, warn};

use crate::registry::{ROOT, Registry};

/// The kinds of definitions that are served.
pub(super) struct Published {
    registry: Registry,
    by_name: BTreeMap<SmolStr, One>,
}

struct One {
    faces: Faces,
    /// The spec and the names that the faces were made of.
    made_of: (Value, Value),
}

/// Why a definition cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    /// The stored definition itself.
    #[error("{0}")]
    Definition(String),
    /// Its resource is one of the server's own.
    #[error("{resource}.{group} is a built-in resource")]
    BuiltIn { group: String, resource: String },
    /// The cache has ended.
    #[error("the server is stopping")]
    Stopping,
}

impl Published {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, by_name: BTreeMap::new() }
    }

    /// Lets no more objects of a definition be made; the kind in whose form they are stored.
    pub(super) fn close(&self, name: &str) -> Option<&'static Kind> {
        let one = self.by_name.get(name)?;
        one.faces.close();
        Some(one.faces.stored)
    }

    /// Serves a definition as it is now.
    pub(super) async fn put(&mut self, name: &str, crd: &Value) -> Result<(), PublishError> {
        let part = |path: &[&str]| crd.path(path).cloned().unwrap_or_default();
        let made_of = (part(&["spec"]), part(&["status", "acceptedNames"]));
        if self.by_name.get(name).is_some_and(|one| one.made_of == made_of) {
            return Ok(());
        }
        let failed = |error: &dyn std::error::Error| {
            let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            PublishError::Definition(format!("{error}{source}"))
        };
        let definition = Arc::new(Definition::read(crd).map_err(|error| failed(&error))?);
        let taken = mainstay_apiserver_kinds::all().iter().any(|kind| {
            kind.group == definition.group
                && (kind.plural == definition.plural || kind.kind == definition.kind)
        });
        if taken {
            let (group, resource) = (definition.group.to_string(), definition.plural.to_string());
            return Err(PublishError::BuiltIn { group, resource });
        }
        let faces = kinds_of(&definition).map_err(|error| failed(&error))?;
        self.registry.feed().open(faces.stored).await.map_err(|_ended| PublishError::Stopping)?;
        let older = self.by_name.insert(name.into(), One { faces: faces.clone(), made_of });
        self.announce();
        if let Some(older) = older {
            retire(&older.faces, Some(&faces));
        }
        info!(definition = %name, versions = faces.served.len(), "custom resource is served");
        Ok(())
    }

    /// Serves a definition no longer. What may be left of its objects (a create that was under way when the last
    /// one was deleted) goes too.
    pub(super) async fn remove(&mut self, name: &str) {
        let Some(one) = self.by_name.remove(name) else { return };
        self.announce();
        if let Some(prefix) = one.faces.stored.storage.as_ref().map(|storage| storage.prefix) {
            // Fails only when the server is stopping.
            if self.registry.feed().close(prefix).await.is_ok() {
                let range = DeleteRangeRequest::prefix(format!("{ROOT}{prefix}/"));
                if let Err(error) = self.registry.store().delete_range(range).await {
                    warn!(definition = %name, %error, "objects of a definition that is gone may be left");
                }
            }
        }
        retire(&one.faces, None);
        info!(definition = %name, "custom resource is no longer served");
    }

    /// Definitions that are served but not in `names`.
    pub(super) fn others(&self, names: impl Fn(&str) -> bool) -> Vec<SmolStr> {
        self.by_name.keys().filter(|name| !names(name)).cloned().collect()
    }

    fn announce(&self) {
        let kinds: Vec<&'static Kind> =
            self.by_name.values().flat_map(|one| one.faces.served.iter().copied()).collect();
        self.registry.served().set_custom(&kinds);
    }
}
