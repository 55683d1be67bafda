//! The steps themselves.

use std::fmt;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::ObjectMeta;
use serde::Serialize;
use serde_json::{Value, json};

use super::target::{Kind, Target};
use crate::ObjectKey;
use crate::events::EventType;

/// The patch formats that steps use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/merge-patch+json`.
    Merge,
    /// `application/json-patch+json`.
    Json,
    /// `application/strategic-merge-patch+json`.
    Strategic,
}

/// What happens to the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector deletes them afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

impl Propagation {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// One call to the API server, as a plan asks for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Create the object; one that exists already counts as success when `exists_ok`.
    Create {
        /// The object; its name may be empty when the body has a `generateName`.
        target: Target,
        /// The whole object.
        body: Value,
        /// Whether an object of this name that exists already is as good.
        exists_ok: bool,
    },
    /// Replace the object or a subresource; the body carries the resourceVersion it was made from.
    Replace {
        /// The object.
        target: Target,
        /// For example `status`.
        subresource: Option<&'static str>,
        /// The whole object.
        body: Value,
    },
    /// Patch the object or a subresource. The body names `metadata.uid` or `metadata.resourceVersion` as precondition.
    Patch {
        /// The object.
        target: Target,
        /// For example `status`.
        subresource: Option<&'static str>,
        /// The patch format.
        kind: PatchKind,
        /// The patch.
        body: Value,
    },
    /// Delete the object; one that is gone already counts as success.
    Delete {
        /// The object.
        target: Target,
        /// The uid that the deleted object must have.
        uid: Option<String>,
        /// The resourceVersion that the deleted object must have.
        resource_version: Option<String>,
        /// Overrides the kind's default.
        propagation: Option<Propagation>,
        /// Overrides the object's grace period.
        grace_seconds: Option<u32>,
    },
    /// Delete every object of a kind in a namespace.
    DeleteCollection {
        /// The kind and namespace; the name is empty.
        target: Target,
    },
    /// POST to a subresource, for example a pod's `binding` or `eviction`.
    Post {
        /// The object.
        target: Target,
        /// The subresource.
        subresource: &'static str,
        /// The request.
        body: Value,
    },
    /// Record an Event. It never fails the plan.
    Event {
        /// The object that the event is about.
        regarding: Box<ObjectReference>,
        /// Normal or Warning.
        event_type: EventType,
        /// The machine-readable reason.
        reason: String,
        /// The text for people.
        message: String,
    },
    /// Independent steps, carried out concurrently in batches that double from one ("slow start"): a fault that
    /// would fail them all costs only a few calls. The first batch with a failure is the last.
    Batch(Vec<Step>),
    /// Steps that depend on each other, in order; useful inside of a batch.
    Sequence(Vec<Step>),
}

impl Step {
    /// Creates `object`.
    pub fn create<K: kube::Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::Create { target: Target::of(object), body: body_of(object), exists_ok: false }
    }

    /// Creates `object`; one of this name that exists already is as good.
    pub fn ensure<K: kube::Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::Create { target: Target::of(object), body: body_of(object), exists_ok: true }
    }

    /// Replaces `object`, which carries the resourceVersion it was made from.
    pub fn replace<K: kube::Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::Replace { target: Target::of(object), subresource: None, body: body_of(object) }
    }

    /// Replaces the status of `object`, which carries the resourceVersion it was made from.
    pub fn replace_status<K: kube::Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::Replace { target: Target::of(object), subresource: Some("status"), body: body_of(object) }
    }

    /// Merges `patch` into `object` if that is still the object of the same uid.
    pub fn merge<K: kube::Resource<DynamicType = ()>>(object: &K, mut patch: Value) -> Self {
        set_precondition(&mut patch, object.meta(), false);
        Self::Patch { target: Target::of(object), subresource: None, kind: PatchKind::Merge, body: patch }
    }

    /// Merges `patch` into `object` if nobody has changed it since.
    pub fn merge_exact<K: kube::Resource<DynamicType = ()>>(object: &K, mut patch: Value) -> Self {
        set_precondition(&mut patch, object.meta(), true);
        Self::Patch { target: Target::of(object), subresource: None, kind: PatchKind::Merge, body: patch }
    }

    /// Deletes `object` if that is still the object of the same uid.
    pub fn delete<K: kube::Resource<DynamicType = ()>>(object: &K) -> Self {
        Self::delete_meta(Kind::of::<K>(), object.meta())
    }

    /// Deletes the object of this kind and metadata if its uid is still the same.
    pub fn delete_meta(kind: Kind, meta: &ObjectMeta) -> Self {
        Self::Delete {
            target: Target { kind, key: ObjectKey::of_meta(meta) },
            uid: meta.uid.clone(),
            resource_version: None,
            propagation: None,
            grace_seconds: None,
        }
    }

    /// Records an event about `object`.
    pub fn event<K: kube::Resource<DynamicType = ()>>(
        object: &K,
        event_type: EventType,
        reason: &str,
        message: String,
    ) -> Self {
        let regarding = Box::new(crate::events::reference(object));
        Self::Event { regarding, event_type, reason: reason.to_owned(), message }
    }
}

/// `object` as JSON with its kind and apiVersion.
fn body_of<K: kube::Resource<DynamicType = ()> + Serialize>(object: &K) -> Value {
    let mut body = serde_json::to_value(object).unwrap_or_default();
    if let Value::Object(fields) = &mut body {
        fields.insert("apiVersion".to_owned(), json!(K::api_version(&())));
        fields.insert("kind".to_owned(), json!(K::kind(&())));
    }
    body
}

fn set_precondition(patch: &mut Value, meta: &ObjectMeta, exact: bool) {
    let Value::Object(fields) = patch else { return };
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let Value::Object(metadata) = metadata else { return };
    if let Some(uid) = &meta.uid {
        metadata.insert("uid".to_owned(), json!(uid));
    }
    if let Some(version) = meta.resource_version.as_ref().filter(|_| exact) {
        metadata.insert("resourceVersion".to_owned(), json!(version));
    }
}

/// One line per step, for goldens and logs.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash =
            |subresource: Option<&str>| subresource.map(|name| format!("/{name}")).unwrap_or_default();
        match self {
            Self::Create { target, body, exists_ok } => {
                write!(f, "{} {target} {body}", if *exists_ok { "ensure" } else { "create" })
            }
            Self::Replace { target, subresource, body } => {
                write!(f, "replace {target}{} {body}", slash(*subresource))
            }
            Self::Patch { target, subresource, body, .. } => {
                write!(f, "patch {target}{} {body}", slash(*subresource))
            }
            Self::Delete { target, uid, propagation, .. } => {
                write!(f, "delete {target} uid={}", uid.as_deref().unwrap_or("any"))?;
                propagation.map_or(Ok(()), |propagation| write!(f, " {}", propagation.as_str()))
            }
            Self::DeleteCollection { target } => write!(f, "delete all {target}"),
            Self::Post { target, subresource, body } => write!(f, "post {target}/{subresource} {body}"),
            Self::Event { event_type, reason, message, .. } => {
                write!(f, "event {} {reason}: {message}", event_type.as_str())
            }
            Self::Batch(steps) => {
                write!(f, "batch of {}", steps.len())?;
                steps.iter().try_for_each(|step| write!(f, "\n  {step}"))
            }
            Self::Sequence(steps) => steps
                .iter()
                .enumerate()
                .try_for_each(|(at, step)| write!(f, "{}{step}", if at == 0 { "" } else { "\n  then " })),
        }
    }
}
