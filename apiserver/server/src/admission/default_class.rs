//! `DefaultStorageClass` and `DefaultIngressClass`: what names no class gets the one that is marked as the default; of
//! several the newest, of equally old ones the first by name.

use std::cmp::Reverse;

use mainstay_apiserver_kinds::{INGRESS, INGRESS_CLASS, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::Meta;
use mainstay_proto_api::Status;

use super::step::{Step, Work};
use crate::registry::Registry;
use crate::types::{AdmissionRequest, Operation};

/// How objects of a kind come to their class.
struct Defaulted {
    /// The kind of the objects.
    kind: &'static Kind,
    /// The kind of the classes.
    class: &'static Kind,
    /// The member of `spec` that names the class.
    field: &'static str,
    /// The annotation that names it too.
    annotation: &'static str,
    /// Annotations that mark the default class.
    markers: &'static [&'static str],
}

static DEFAULTED: [Defaulted; 2] = [
    Defaulted {
        kind: &PERSISTENT_VOLUME_CLAIM,
        class: &STORAGE_CLASS,
        field: "storageClassName",
        annotation: "volume.beta.kubernetes.io/storage-class",
        markers: &[
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ],
    },
    Defaulted {
        kind: &INGRESS,
        class: &INGRESS_CLASS,
        field: "ingressClassName",
        annotation: "kubernetes.io/ingress.class",
        markers: &["ingressclass.kubernetes.io/is-default-class"],
    },
];

/// The step.
pub struct DefaultClass {
    registry: Registry,
}

impl DefaultClass {
    /// The step over the cluster's classes.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    async fn set(&self, rule: &Defaulted, request: &mut AdmissionRequest) -> Result<(), Status> {
        let named = request.object.path(&["spec", rule.field]).is_some()
            || Meta(&request.object).annotation(rule.annotation).is_some();
        if !named && let Some(class) = self.default_class(rule).await? {
            request.object.set_path(&["spec", rule.field], class);
        }
        Ok(())
    }

    /// The class that is marked; of several the newest. One that was written before the request counts.
    async fn default_class(&self, rule: &Defaulted) -> Result<Option<String>, Status> {
        let mut marked = Vec::new();
        for cached in self.registry.snapshot_fresh(rule.class).await?.iter() {
            let class = self.registry.decode_served(rule.class, cached)?;
            let meta = Meta(&class);
            if rule.markers.iter().any(|marker| meta.annotation(marker) == Some("true")) {
                let created = meta.creation_timestamp().unwrap_or_default().to_owned();
                marked.push((Reverse(created), meta.name().to_owned()));
            }
        }
        Ok(marked.into_iter().min().map(|(_, name)| name))
    }
}

impl Step for DefaultClass {
    fn mutate<'a>(&'a self, request: &'a mut AdmissionRequest) -> Work<'a, Result<(), Status>> {
        if request.operation != Operation::Create || !request.subresource.is_empty() {
            return None;
        }
        let rule = DEFAULTED.iter().find(|rule| rule.kind == request.kind)?;
        Some(Box::pin(self.set(rule, request)))
    }
}
