//! Creating the objects that must be there: namespaces, priority classes, and what the other modules here bring.

use std::sync::Arc;

use mainstay_apiserver_kinds::{NAMESPACE, PRIORITY_CLASS, SYSTEM_CLASSES};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::authn::user::MASTERS;
use crate::handlers::{Deletes, FieldOwner, WriteRequest, Writer};
use crate::registry::Registry;
use crate::types::UserInfo;

/// The namespaces that every cluster has.
const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Writes objects as the server itself.
#[derive(Clone, Debug)]
pub struct Seeder {
    writer: Arc<Writer>,
}

impl Seeder {
    /// A seeder that writes by `writer`'s rules.
    pub fn new(writer: Writer) -> Self {
        Self { writer: Arc::new(writer) }
    }

    /// The registry below.
    pub fn registry(&self) -> &Registry {
        self.writer.registry()
    }

    /// The way to write.
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// The request under which the server itself writes.
    pub fn request(kind: &'static Kind, namespace: &str, name: &str) -> WriteRequest {
        WriteRequest {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            user: Arc::new(UserInfo::new("system:apiserver", [MASTERS])),
            dry_run: false,
            options: Value::Null,
            owner: FieldOwner::Manager("kube-apiserver".into()),
            deletes: Deletes::default(),
        }
    }

    /// Creates an object unless one of its name is there; true if it was created.
    ///
    /// # Errors
    /// Any refusal but that the object exists.
    pub async fn ensure(&self, kind: &'static Kind, object: &Value) -> Result<bool, Status> {
        let meta = Meta(object);
        if self.registry().get_fresh(kind, meta.namespace(), meta.name()).await?.is_some() {
            return Ok(false);
        }
        let request = Self::request(kind, meta.namespace(), "");
        match self.writer.create(&request, object.clone()).await {
            Ok(_) => Ok(true),
            Err(status) if status.reason == "AlreadyExists" => Ok(false),
            Err(status) => Err(status),
        }
    }

    /// Creates the system namespaces that are missing.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn namespaces(&self) -> Result<(), Status> {
        for name in NAMESPACES {
            let object = value!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": *name}});
            if self.ensure(&NAMESPACE, &object).await? {
                info!(namespace = %name, "created a system namespace");
            }
        }
        Ok(())
    }

    /// Creates the system priority classes that are missing.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn priority_classes(&self) -> Result<(), Status> {
        for (name, class) in SYSTEM_CLASSES {
            let what = if *name == "system-node-critical" {
                "that must not be moved from their current node."
            } else {
                "that must run in the cluster, but can be moved to another node if necessary."
            };
            let object = value!({
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": *name},
                "value": *class,
                "description": format!("Used for system critical pods {what}"),
                "preemptionPolicy": "PreemptLowerPriority",
            });
            self.ensure(&PRIORITY_CLASS, &object).await?;
        }
        Ok(())
    }

    /// Makes system namespaces again when one is deleted, until `stop`.
    ///
    /// # Errors
    /// Namespaces that are not stored.
    pub async fn keep_namespaces(self, stop: CancellationToken) -> Result<(), Status> {
        let mut changes = self.registry().changes(&NAMESPACE)?;
        loop {
            changes.borrow_and_update();
            if let Err(error) = self.namespaces().await {
                warn!(error = %error.message, "a system namespace is missing");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                end = changes.changed() => if end.is_err() { return Ok(()) },
            }
        }
    }
}
