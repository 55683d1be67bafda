//! Decides what becomes of an object. Pure.

use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::owner::uid;
use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::step::{PatchKind, Propagation, Step, Target};
use serde_json::json;

use super::world::{FOREGROUND, Item, ORPHAN, OwnerState, World};

pub(super) fn plan(world: &World) -> (Vec<Step>, Next) {
    let steps = if world.item.is_deleting() { finish(world) } else { judge(world) };
    (steps, Next::Done)
}

/// An object that is being deleted: its dependents are orphaned, or awaited.
fn finish(world: &World) -> Vec<Step> {
    let item = &world.item;
    if item.has_finalizer(ORPHAN) {
        let own = uid(&item.meta);
        let mut steps = vec![Step::Batch(
            world.dependents.iter().map(|dependent| disown(dependent, |owner| owner != own)).collect(),
        )];
        steps.push(drop_finalizer(item, ORPHAN));
        return steps;
    }
    let blocks = |dependent: &&Item| {
        dependent.reference_to(uid(&item.meta)).is_some_and(|owner| owner.block_owner_deletion == Some(true))
    };
    if item.awaits_dependents() && !world.dependents.iter().any(|dependent| blocks(&dependent)) {
        return vec![drop_finalizer(item, FOREGROUND)];
    }
    Vec::new()
}

/// An object that is not being deleted: it stays as long as one owner is there and stays.
fn judge(world: &World) -> Vec<Step> {
    let with = |wanted: OwnerState| world.owners.iter().filter(move |(_, state)| *state == wanted);
    if world.owners.is_empty() {
        return Vec::new();
    }
    let is_owned = with(OwnerState::Solid).next().is_some();
    let awaits = with(OwnerState::Waiting).next().is_some();
    if is_owned {
        let stay = |owner: &str| with(OwnerState::Solid).any(|(reference, _)| reference.uid == owner);
        let all_stay = world.owners.iter().all(|(_, state)| *state == OwnerState::Solid);
        return if all_stay { Vec::new() } else { vec![disown(&world.item, stay)] };
    }
    let propagation = if awaits && !world.dependents.is_empty() {
        let mut steps = Vec::new();
        // Two objects that each wait for the other would wait for ever.
        if world.dependents.iter().any(Item::awaits_dependents) {
            steps.push(unblock(&world.item));
        }
        steps.push(delete(&world.item, Propagation::Foreground));
        return steps;
    } else if world.item.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if world.item.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    vec![delete(&world.item, propagation)]
}

fn target(item: &Item) -> Target {
    Target { kind: item.kind.clone(), key: ObjectKey::of_meta(&item.meta) }
}

fn delete(item: &Item, propagation: Propagation) -> Step {
    Step::Delete {
        target: target(item),
        uid: item.meta.uid.clone(),
        resource_version: None,
        propagation: Some(propagation),
        grace_seconds: None,
    }
}

/// Takes away the owner references whose uid `keeps` refuses.
fn disown(item: &Item, keeps: impl Fn(&str) -> bool) -> Step {
    let kept: Vec<_> =
        item.meta.owner_references.iter().flatten().filter(|owner| keeps(&owner.uid)).collect();
    metadata_patch(item, &json!(kept), "ownerReferences")
}

fn unblock(item: &Item) -> Step {
    let mut owners = item.meta.owner_references.clone().unwrap_or_default();
    for owner in &mut owners {
        owner.block_owner_deletion = Some(false);
    }
    metadata_patch(item, &json!(owners), "ownerReferences")
}

fn drop_finalizer(item: &Item, name: &str) -> Step {
    let kept: Vec<_> = item.meta.finalizers.iter().flatten().filter(|finalizer| *finalizer != name).collect();
    metadata_patch(item, &json!(kept), "finalizers")
}

/// Replaces one list of the metadata if nobody has changed the object since.
fn metadata_patch(item: &Item, list: &serde_json::Value, field: &str) -> Step {
    let body = json!({"metadata": {
        "uid": item.meta.uid,
        "resourceVersion": item.meta.resource_version,
        field: list,
    }});
    Step::Patch { target: target(item), subresource: None, kind: PatchKind::Merge, body }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use mainstay_agents_kit::step::Kind;
    use serde_json::{Value, json};

    use super::plan;
    use crate::garbage_collector::world::{Item, OwnerState, World};

    fn item(name: &str, mut meta: Value) -> Item {
        meta["name"] = json!(name);
        meta["namespace"] = json!("default");
        meta["uid"] = json!(name);
        meta["resourceVersion"] = json!("7");
        Item { kind: Kind::of::<Pod>(), meta: serde_json::from_value(meta).unwrap() }
    }

    fn owned_by(owners: &[(&str, OwnerState)]) -> World {
        let references: Vec<Value> = owners
            .iter()
            .map(|(name, _)| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name, "blockOwnerDeletion": true}))
            .collect();
        let item = item("p", json!({"ownerReferences": references}));
        let states = owners.iter().map(|(_, state)| *state);
        let owners = item.meta.owner_references.clone().unwrap().into_iter().zip(states).collect();
        World { item, owners, dependents: Vec::new() }
    }

    fn texts(world: &World) -> Vec<String> {
        plan(world).0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_lost_its_last_owner_goes() {
        assert_eq!(
            texts(&owned_by(&[("a", OwnerState::Dangling)])),
            ["delete Pod default/p uid=p Background"]
        );
        assert!(texts(&owned_by(&[("a", OwnerState::Solid)])).is_empty());
        assert_eq!(
            texts(&owned_by(&[("a", OwnerState::Solid), ("b", OwnerState::Dangling)])),
            [
                r#"patch Pod default/p {"metadata":{"uid":"p","resourceVersion":"7","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"kind":"ConfigMap","name":"a","uid":"a"}]}}"#
            ]
        );
    }

    #[test]
    fn an_owner_that_waits_takes_its_dependents_in_the_foreground() {
        let mut world = owned_by(&[("a", OwnerState::Waiting)]);
        assert_eq!(texts(&world), ["delete Pod default/p uid=p Background"]);
        world.dependents.push(item("child", json!({})));
        assert_eq!(texts(&world), ["delete Pod default/p uid=p Foreground"]);
    }

    #[test]
    fn a_foreground_deletion_ends_when_nothing_blocks_it() {
        let deleting =
            json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion", "x/y"]});
        let owner = |block: bool| {
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p",
            "uid": "p", "blockOwnerDeletion": block}]})
        };
        let mut world =
            World { item: item("p", deleting), owners: Vec::new(), dependents: vec![item("c", owner(true))] };
        assert!(texts(&world).is_empty());
        world.dependents = vec![item("c", owner(false))];
        assert_eq!(
            texts(&world),
            [r#"patch Pod default/p {"metadata":{"uid":"p","resourceVersion":"7","finalizers":["x/y"]}}"#]
        );
    }

    #[test]
    fn orphans_are_set_free_before_their_owner_goes() {
        let deleting = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["orphan"]});
        let owner =
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p"}]});
        let world =
            World { item: item("p", deleting), owners: Vec::new(), dependents: vec![item("c", owner)] };
        assert_eq!(
            texts(&world),
            [
                "batch of 1\n  patch Pod default/c {\"metadata\":{\"uid\":\"c\",\"resourceVersion\":\"7\",\"ownerReferences\":[]}}",
                r#"patch Pod default/p {"metadata":{"uid":"p","resourceVersion":"7","finalizers":[]}}"#,
            ]
        );
    }
}
