//! Decides which slices there are. Pure.
//!
//! Endpoints stay in the slice they are in; new ones fill the slices that have room before another slice comes. A service
//! without endpoints keeps one empty slice.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::owner::{controller_reference, is_controlled_by, uid};
use mainstay_agents_kit::reconcile::Next;
use mainstay_agents_kit::step::Step;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::endpoints::{address_types, endpoint_of};
use super::ports::ports_of;
use super::world::World;
use crate::counts::says_the_same;
use crate::{names, pods};

pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const ENDPOINTS_MAX: usize = 100;

/// Slices of one address family and one set of ports.
type GroupKey = (String, String);

struct Group {
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
}

pub(super) fn plan(world: &World) -> (Vec<Step>, Next) {
    let mut steps = Vec::new();
    let mut taken: HashSet<String> =
        world.slices.iter().filter_map(|slice| slice.metadata.name.clone()).collect();
    let mut wanted = groups(world);
    let mut present: BTreeMap<GroupKey, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in &world.slices {
        let key = group_key(&slice.address_type, slice.ports.as_deref().unwrap_or_default());
        present.entry(key).or_default().push(Arc::clone(slice));
    }
    for key in present.keys() {
        // What nothing is wanted of any more is emptied like the rest.
        wanted.entry(key.clone()).or_insert_with(|| Group { ports: Vec::new(), endpoints: Vec::new() });
    }
    for (key, group) in wanted {
        let slices = present.remove(&key).unwrap_or_default();
        steps.extend(sync_group(world, &key, group, &slices, &mut taken));
    }
    (keep_one(world, steps), Next::Done)
}

/// Instead of deleting the last slice, empties it.
fn keep_one(world: &World, mut steps: Vec<Step>) -> Vec<Step> {
    for address_type in address_types(&world.service) {
        let of_type: Vec<_> =
            world.slices.iter().filter(|slice| slice.address_type == address_type).collect();
        let deletes = |step: &Step, slice: &EndpointSlice| matches!(step, Step::Delete { target, .. } if target.key == ObjectKey::of(slice));
        let all_go = of_type.iter().all(|slice| steps.iter().any(|step| deletes(step, slice)));
        let one_comes = steps.iter().any(|step| {
            matches!(step, Step::Create { body, .. } if body.get("addressType").and_then(Value::as_str) == Some(address_type))
        });
        if !all_go || one_comes {
            continue;
        }
        let mut empty = slice_of(world, address_type, Vec::new(), Vec::new());
        let Some(last) = of_type.first() else {
            empty.metadata.name = Some(new_name(world, address_type, &mut HashSet::new()));
            steps.push(Step::create(&empty));
            continue;
        };
        steps.retain(|step| !deletes(step, last));
        empty.metadata = updated_meta(world, &last.metadata, &[]);
        if last.endpoints.as_ref().is_some_and(|endpoints| !endpoints.is_empty()) {
            steps.push(Step::replace(&empty));
        }
    }
    steps
}

fn groups(world: &World) -> BTreeMap<GroupKey, Group> {
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    for address_type in address_types(&world.service) {
        for pod in &world.pods {
            let Some(endpoint) = endpoint_of(world, pod, address_type) else { continue };
            let ports = ports_of(&world.service, pod);
            let group = groups
                .entry(group_key(address_type, &ports))
                .or_insert_with(|| Group { ports, endpoints: Vec::new() });
            group.endpoints.push(endpoint);
        }
    }
    groups
}

fn group_key(address_type: &str, ports: &[EndpointPort]) -> GroupKey {
    let mut texts: Vec<String> = ports
        .iter()
        .map(|port| {
            format!(
                "{}/{}/{}/{}",
                port.name.as_deref().unwrap_or_default(),
                port.protocol.as_deref().unwrap_or("TCP"),
                port.port.unwrap_or(0),
                port.app_protocol.as_deref().unwrap_or_default()
            )
        })
        .collect();
    texts.sort();
    (address_type.to_owned(), texts.join(","))
}

fn sync_group(
    world: &World,
    (address_type, ports_text): &GroupKey,
    group: Group,
    slices: &[Arc<EndpointSlice>],
    taken: &mut HashSet<String>,
) -> Vec<Step> {
    let Group { ports, endpoints } = group;
    let mut rest: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    // Endpoints keep their slice.
    let mut contents: Vec<Vec<Endpoint>> = slices
        .iter()
        .map(|slice| {
            let kept = slice.endpoints.iter().flatten().filter_map(|old| rest.remove(&identity(old)));
            kept.collect()
        })
        .collect();
    let mut rest: Vec<Endpoint> = rest.into_values().collect();
    for content in &mut contents {
        let room = ENDPOINTS_MAX.saturating_sub(content.len()).min(rest.len());
        // A slice that would be deleted is only filled again when there is something to fill it with.
        content.extend(rest.drain(..room));
    }
    let mut steps: Vec<Step> =
        slices.iter().zip(contents).filter_map(|(slice, content)| update(world, slice, content)).collect();
    while !rest.is_empty() {
        let content: Vec<Endpoint> = rest.drain(..rest.len().min(ENDPOINTS_MAX)).collect();
        let mut slice = slice_of(world, address_type, ports.clone(), content);
        slice.metadata.name = Some(new_name(world, ports_text, taken));
        steps.push(Step::create(&slice));
    }
    steps
}

/// What makes an endpoint the same one over time.
fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{target} {}", endpoint.addresses.join(","))
}

fn update(world: &World, slice: &EndpointSlice, content: Vec<Endpoint>) -> Option<Step> {
    if content.is_empty() {
        return Some(Step::delete(slice));
    }
    let meta = updated_meta(world, &slice.metadata, &content);
    let content = Some(content);
    let same_content = says_the_same(&slice.endpoints, &content);
    let same_meta =
        meta.labels == slice.metadata.labels && meta.owner_references == slice.metadata.owner_references;
    if same_content && same_meta {
        return None;
    }
    let mut updated = EndpointSlice::clone(slice);
    updated.metadata = meta;
    updated.endpoints = content;
    Some(Step::replace(&updated))
}

fn slice_of(
    world: &World,
    address_type: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let base = ObjectMeta {
        namespace: world.service.metadata.namespace.clone(),
        generate_name: Some(names::prefix(world.service.metadata.name.as_deref().unwrap_or_default())),
        ..ObjectMeta::default()
    };
    EndpointSlice {
        metadata: updated_meta(world, &base, &endpoints),
        address_type: address_type.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(ports),
    }
}

fn updated_meta(world: &World, present: &ObjectMeta, endpoints: &[Endpoint]) -> ObjectMeta {
    let mut meta = present.clone();
    meta.labels = Some(labels_of(&world.service));
    if !is_controlled_by(present, uid(&world.service.metadata)) {
        meta.owner_references = Some(vec![controller_reference(world.service.as_ref())]);
    }
    if let Some(at) = trigger_time(world, endpoints) {
        meta.annotations.get_or_insert_default().insert(TRIGGER_TIME.to_owned(), at.to_string());
    }
    meta
}

fn labels_of(service: &Service) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let cluster_ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    if cluster_ip == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// The latest change of the service or of a pod in the slice that may have caused the write.
fn trigger_time(world: &World, endpoints: &[Endpoint]) -> Option<Timestamp> {
    let names: HashSet<&String> = endpoints
        .iter()
        .filter_map(|endpoint| endpoint.target_ref.as_ref().and_then(|target| target.name.as_ref()))
        .collect();
    let changed = |pod: &Pod| {
        let ready = pods::condition(pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
        ready.map(|time| time.0)
    };
    world
        .pods
        .iter()
        .filter(|pod| pod.metadata.name.as_ref().is_some_and(|name| names.contains(name)))
        .filter_map(|pod| changed(pod))
        .chain(world.service.metadata.creation_timestamp.as_ref().map(|time| time.0))
        .max()
}

/// A name that follows from the service and the group, so that a run on a stale cache meets the slice that an earlier
/// one made instead of making another.
fn new_name(world: &World, group: &str, taken: &mut HashSet<String>) -> String {
    let mut digest = Sha256::new();
    digest.update(uid(&world.service.metadata));
    digest.update(group);
    let digest = digest.finalize();
    let nonce = u64::from_be_bytes(digest.first_chunk::<8>().copied().unwrap_or_default());
    let prefix = names::prefix(world.service.metadata.name.as_deref().unwrap_or_default());
    let free = (0..=taken.len())
        .map(|index| format!("{prefix}{}", names::suffix(nonce, index)))
        .find(|name| !taken.contains(name));
    let name = free.unwrap_or(prefix);
    taken.insert(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::{World, plan};
    use crate::golden;

    fn world_of(world: &Value) -> World {
        World {
            service: Arc::new(golden::one(world, "service")),
            pods: golden::list(world, "pods"),
            slices: golden::list(world, "slices"),
            zones: [("n1".to_owned(), "west".to_owned())].into(),
        }
    }

    #[test]
    fn goldens() {
        golden::check("endpoint_slice", |world| plan(&world_of(world)));
    }

    #[test]
    fn a_slice_holds_a_hundred_endpoints() {
        let pod = |number: usize| {
            json!({"metadata": {"namespace": "default", "name": format!("p{number}"), "uid": format!("u{number}")},
                "spec": {"containers": []}, "status": {"podIP": format!("10.0.{}.{}", number / 250, number % 250)}})
        };
        let service = json!({"metadata": {"namespace": "default", "name": "web", "uid": "web"},
            "spec": {"clusterIP": "10.96.0.10", "selector": {"app": "web"}, "ports": [{"port": 80}]}});
        let mut world = world_of(&json!({ "service": service }));
        world.pods =
            (0..250).map(|number| Arc::new(serde_json::from_value::<Pod>(pod(number)).unwrap())).collect();
        let (steps, _) = plan(&world);
        let sizes: Vec<usize> = steps
            .iter()
            .map(|step| match step {
                mainstay_agents_kit::step::Step::Create { body, .. } => {
                    body["endpoints"].as_array().unwrap().len()
                }
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(sizes, [100, 100, 50]);
    }
}
