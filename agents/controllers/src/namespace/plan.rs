//! Decides what to delete, and whether the namespace can go. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::step::{Step, Target};
use mainstay_agents_kit::time::{elapsed, time};

use super::world::{Content, World};
use crate::counts::says_the_same;

const FINALIZER: &str = "kubernetes";
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(300);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(15);

/// Whether the namespace still waits for this controller.
pub(super) fn is_ours(namespace: &Namespace) -> bool {
    let finalizers = finalizers_of(namespace);
    finalizers.is_empty() || finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

fn finalizers_of(namespace: &Namespace) -> &[String] {
    namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or_default()
}

impl World {
    /// Whether nothing holds the namespace any more.
    pub(super) fn is_finalized(&self) -> bool {
        finalizers_of(&self.namespace).is_empty()
    }
}

pub(super) fn plan(world: &World) -> (Vec<Step>, Next) {
    if world.is_finalized() {
        // The API server lets it go by itself when the last finalizer is taken; this is for one that missed it.
        return (vec![Step::delete(world.namespace.as_ref())], Next::Done);
    }
    let mut steps: Vec<Step> = Vec::new();
    for content in &world.contents {
        steps.extend(delete(world, content));
    }
    let status = status_of(world);
    let status = Some(status);
    let changed = !says_the_same(&world.namespace.status, &status);
    let mut updated = Namespace::clone(&world.namespace);
    updated.status = status;
    if world.contents.is_empty() && world.failures.is_empty() {
        if let Some(spec) = &mut updated.spec {
            spec.finalizers = spec.finalizers.take().map(|mut finalizers| {
                finalizers.retain(|finalizer| finalizer != FINALIZER);
                finalizers
            });
        }
        return (vec![finalize(&updated)], Next::Done);
    }
    if changed {
        steps.push(Step::replace_status(&updated));
    }
    // Young deletions are looked at often; one that hangs on a finalizer, seldom.
    let since = world.namespace.metadata.deletion_timestamp.as_ref().map_or(world.now, |time| time.0);
    let pause = (elapsed(since, world.now) / 4).clamp(LOOK_AGAIN_MIN, LOOK_AGAIN_MAX);
    (steps, Next::After(pause))
}

fn finalize(namespace: &Namespace) -> Step {
    let Step::Replace { target, body, .. } = Step::replace(namespace) else {
        return Step::replace(namespace);
    };
    Step::Replace { target, subresource: Some("finalize"), body }
}

fn delete(world: &World, content: &Content) -> Vec<Step> {
    // What is on its way out already needs no second call.
    let waiting: Vec<_> =
        content.objects.iter().filter(|object| object.deletion_timestamp.is_none()).collect();
    if waiting.is_empty() && content.beyond == 0 {
        return Vec::new();
    }
    if content.collection {
        let namespace = world.namespace.metadata.name.clone().unwrap_or_default();
        let key = ObjectKey::new(namespace, "");
        return vec![Step::DeleteCollection { target: Target { kind: content.kind.clone(), key } }];
    }
    waiting.into_iter().map(|object| Step::delete_meta(content.kind.clone(), object)).collect()
}

fn status_of(world: &World) -> NamespaceStatus {
    let mut conditions =
        world.namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let fine = |condition_type: &str, reason: &str, message: &str| {
        (condition_type.to_owned(), false, reason.to_owned(), message.to_owned())
    };
    let mut facts = vec![
        fine(
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        fine(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
    ];
    facts.push(if world.failures.is_empty() {
        fine(
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        )
    } else {
        let message = format!(
            "Failed to delete all resource types, {} remaining: {}",
            world.failures.len(),
            world.failures.join(", ")
        );
        ("NamespaceDeletionContentFailure".to_owned(), true, "ContentDeletionFailed".to_owned(), message)
    });
    facts.push(match remaining(world) {
        None => fine("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
        Some(text) => {
            let message = format!("Some resources are remaining: {text}");
            ("NamespaceContentRemaining".to_owned(), true, "SomeResourcesRemain".to_owned(), message)
        }
    });
    facts.push(match finalizers(world) {
        None => fine(
            "NamespaceFinalizersRemaining",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
        Some(text) => {
            let message = format!("Some content in the namespace has finalizers remaining: {text}");
            ("NamespaceFinalizersRemaining".to_owned(), true, "SomeFinalizersRemain".to_owned(), message)
        }
    });
    for (condition_type, holds, reason, message) in facts {
        let status = if holds { "True" } else { "False" };
        let present = conditions.iter_mut().find(|condition| condition.type_ == condition_type);
        let new = NamespaceCondition {
            type_: condition_type,
            status: status.to_owned(),
            reason: Some(reason),
            message: Some(message),
            last_transition_time: Some(time(world.now)),
        };
        match present {
            None => conditions.push(new),
            Some(present) if present.status != new.status || present.message != new.message => *present = new,
            Some(_) => {}
        }
    }
    NamespaceStatus { phase: Some("Terminating".to_owned()), conditions: Some(conditions) }
}

fn remaining(world: &World) -> Option<String> {
    let mut counts: Vec<String> = world
        .contents
        .iter()
        .map(|content| {
            let count =
                i64::try_from(content.objects.len()).unwrap_or(i64::MAX).saturating_add(content.beyond);
            format!("{}.{} has {count} resource instances", content.kind.plural, content.kind.group)
        })
        .collect();
    counts.sort();
    (!counts.is_empty()).then(|| counts.join(", "))
}

fn finalizers(world: &World) -> Option<String> {
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    for object in world.contents.iter().flat_map(|content| &content.objects) {
        for finalizer in object.finalizers.iter().flatten() {
            *counts.entry(finalizer).or_insert(0) += 1;
        }
    }
    let texts: Vec<String> = counts
        .iter()
        .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::jiff::Timestamp;
    use mainstay_agents_kit::reconcile::Next;
    use mainstay_agents_kit::step::Kind;
    use serde_json::json;

    use super::plan;
    use crate::namespace::world::{Content, World};

    fn world(contents: Vec<Content>) -> World {
        let namespace = json!({
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "5", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Terminating"},
        });
        World {
            namespace: Arc::new(serde_json::from_value(namespace).unwrap()),
            contents,
            failures: Vec::new(),
            now: "2026-01-01T00:00:04Z".parse::<Timestamp>().unwrap(),
        }
    }

    #[test]
    fn an_empty_namespace_is_let_go() {
        let (steps, next) = plan(&world(Vec::new()));
        assert_eq!(steps.len(), 1);
        let text = steps[0].to_string();
        assert!(text.starts_with("replace Namespace a/finalize "), "{text}");
        assert!(text.contains(r#""finalizers":[]"#), "{text}");
        assert_eq!(next, Next::Done);
    }

    #[test]
    fn contents_are_deleted_and_counted() {
        let pods = Content {
            kind: Kind::of::<k8s_openapi::api::core::v1::Pod>(),
            collection: true,
            objects: vec![serde_json::from_value(json!({"name": "p", "finalizers": ["x/y"]})).unwrap()],
            beyond: 1,
        };
        let (steps, next) = plan(&world(vec![pods]));
        assert_eq!(steps[0].to_string(), "delete all Pod a/");
        let status = steps[1].to_string();
        assert!(status.contains("Some resources are remaining: pods. has 2 resource instances"), "{status}");
        assert!(status.contains("finalizers remaining: x/y in 1 resource instances"), "{status}");
        assert_eq!(next, Next::After(std::time::Duration::from_secs(1)));
    }
}
