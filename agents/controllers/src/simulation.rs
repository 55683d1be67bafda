//! The deployment and replica set controllers together against a small model of the API server and the nodes. Only tests
//! use this. After every single step the promises of a rollout are checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::owner::{is_controlled_by, uid};
use mainstay_agents_kit::step::Step;
use mainstay_agents_kit::{ObjectKey, selector_of, time};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ownership::claim;
use crate::pods::{is_active, is_ready};
use crate::{deployment, replica_set};

struct Cluster {
    objects: BTreeMap<(String, ObjectKey), Value>,
    revision: u64,
    now: Timestamp,
    events: Vec<String>,
    /// The least of ready pods and the most of pods that were ever seen.
    ready_min: usize,
    pods_max: usize,
    /// Whether pods ever become ready.
    healthy: bool,
}

impl Cluster {
    fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            revision: 1,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            events: Vec::new(),
            ready_min: usize::MAX,
            pods_max: 0,
            healthy: true,
        }
    }

    fn list<K: DeserializeOwned>(&self, kind: &str) -> Vec<Arc<K>> {
        let of_kind = self.objects.iter().filter(|((have, _), _)| have == kind);
        of_kind.map(|(_, object)| Arc::new(serde_json::from_value(object.clone()).unwrap())).collect()
    }

    fn deployment(&self) -> Arc<Deployment> {
        self.list("Deployment").pop().unwrap()
    }

    fn put(&mut self, kind: &str, key: &ObjectKey, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.insert((kind.to_owned(), key.clone()), object);
    }

    /// A person changes the deployment.
    fn edit(&mut self, patch: &Value) {
        let key = ObjectKey::new("default", "web");
        let mut object = self.objects.get(&("Deployment".to_owned(), key.clone())).unwrap().clone();
        merge(&mut object, patch);
        let generation = object["metadata"]["generation"].as_i64().unwrap();
        object["metadata"]["generation"] = json!(generation + 1);
        self.put("Deployment", &key, object);
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Create { target, body, .. } => {
                let slot = (target.kind.kind.to_string(), target.key.clone());
                assert!(!self.objects.contains_key(&slot), "{target} exists");
                let mut object = body.clone();
                self.revision += 1;
                object["metadata"]["uid"] = json!(format!("uid-{}", self.revision));
                object["metadata"]["generation"] = json!(1);
                object["metadata"]["creationTimestamp"] = json!(time::time(self.now));
                self.put(&slot.0, &target.key, object);
            }
            Step::Patch { target, body, .. } => {
                let kind = target.kind.kind.to_string();
                let mut object = self.objects.get(&(kind.clone(), target.key.clone())).unwrap().clone();
                if let Some(version) = body["metadata"].get("resourceVersion") {
                    assert_eq!(*version, object["metadata"]["resourceVersion"], "stale patch of {target}");
                }
                let before = object["spec"].clone();
                merge(&mut object, body);
                if object["spec"] != before {
                    let generation = object["metadata"]["generation"].as_i64().unwrap();
                    object["metadata"]["generation"] = json!(generation + 1);
                }
                self.put(&kind, &target.key, object);
            }
            Step::Replace { target, subresource: Some("status"), body } => {
                let kind = target.kind.kind.to_string();
                let mut object = self.objects.get(&(kind.clone(), target.key.clone())).unwrap().clone();
                let versions = (&body["metadata"]["resourceVersion"], &object["metadata"]["resourceVersion"]);
                assert_eq!(versions.0, versions.1, "stale status of {target}");
                object["status"] = body["status"].clone();
                self.put(&kind, &target.key, object);
            }
            Step::Delete { target, .. } if target.kind.kind == "Pod" => {
                merge(
                    self.objects.get_mut(&("Pod".to_owned(), target.key.clone())).unwrap(),
                    &json!({"metadata": {"deletionTimestamp": time::time(self.now)}}),
                );
            }
            Step::Delete { target, .. } => {
                self.objects.remove(&(target.kind.kind.to_string(), target.key.clone()));
            }
            Step::Event { message, .. } => self.events.push(message.clone()),
            Step::Batch(steps) | Step::Sequence(steps) => steps.iter().for_each(|step| self.apply(step)),
            other => panic!("the model does not know {other}"),
        }
        let pods: Vec<Arc<Pod>> = self.list("Pod");
        let ready = pods.iter().filter(|pod| is_active(pod) && is_ready(pod)).count();
        self.ready_min = self.ready_min.min(ready);
        self.pods_max = self.pods_max.max(pods.iter().filter(|pod| is_active(pod)).count());
    }

    fn run_deployment(&mut self) -> bool {
        let deployment = self.deployment();
        let selector = selector_of(Some(&deployment.spec.selector)).unwrap();
        let all: Vec<Arc<ReplicaSet>> = self.list("ReplicaSet");
        let ours = |one: &&Arc<ReplicaSet>| is_controlled_by(&one.metadata, uid(&deployment.metadata));
        let controlled: Vec<_> = all.iter().filter(ours).cloned().collect();
        let by_name = |name: &str| all.iter().find(|one| one.metadata.name.as_deref() == Some(name)).cloned();
        let claimed = claim(&selector, controlled, Vec::new());
        let world = deployment::World::new(deployment, claimed, self.list("Pod"), by_name, self.now);
        let (steps, _) = deployment::plan(&world);
        for step in &steps {
            self.apply(step);
        }
        !steps.is_empty()
    }

    fn run_replica_sets(&mut self) -> bool {
        let mut changed = false;
        for replica_set in self.list::<ReplicaSet>("ReplicaSet") {
            let selector = selector_of(Some(&replica_set.spec.selector)).unwrap();
            let pods = self.list::<Pod>("Pod");
            let ours = |pod: &Arc<Pod>| is_controlled_by(&pod.metadata, uid(&replica_set.metadata));
            let pods = claim(&selector, pods.into_iter().filter(ours).collect(), Vec::new());
            let world = replica_set::World { replica_set, pods, now: self.now, nonce: self.revision };
            let (steps, _) = replica_set::plan(&world);
            for step in &steps {
                self.apply(step);
            }
            changed |= !steps.is_empty();
        }
        changed
    }

    /// The nodes bring one new pod up and take deleted ones away.
    fn run_nodes(&mut self) -> bool {
        let mut started = false;
        let mut changed = false;
        for pod in self.list::<Pod>("Pod") {
            let key = ObjectKey::of(pod.as_ref());
            if pod.metadata.deletion_timestamp.is_some() {
                self.objects.remove(&("Pod".to_owned(), key));
                changed = true;
            } else if !is_ready(&pod) && self.healthy && !started {
                let mut object = serde_json::to_value(pod.as_ref()).unwrap();
                let since = time::time(self.now);
                merge(
                    &mut object,
                    &json!({"status": {"phase": "Running",
                        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}}),
                );
                self.put("Pod", &key, object);
                started = true;
                changed = true;
            }
        }
        changed
    }

    /// Runs everything until nothing changes.
    fn settle(&mut self) {
        for _ in 0..500 {
            self.now = time::plus(self.now, Duration::from_secs(1));
            let mut changed = self.run_deployment();
            changed |= self.run_replica_sets();
            changed |= self.run_nodes();
            if !changed {
                return;
            }
        }
        panic!("no rest after 500 rounds: {:#?}", self.events);
    }

    fn sizes(&self) -> Vec<(String, i32)> {
        let mut sizes: Vec<(String, i32)> = self
            .list::<ReplicaSet>("ReplicaSet")
            .iter()
            .map(|one| {
                let image =
                    one.spec.template.as_ref().unwrap().spec.as_ref().unwrap().containers[0].image.clone();
                (image.unwrap_or_default(), one.spec.replicas.unwrap())
            })
            .collect();
        sizes.sort();
        sizes
    }
}

fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut object[name.as_str()], value);
        }
    }
}

fn started(strategy: &Value, replicas: i32) -> Cluster {
    let mut cluster = Cluster::new();
    let web = json!({
        "metadata": {"namespace": "default", "name": "web", "uid": "web", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": strategy,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 2,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "v1"}]}},
        },
    });
    cluster.put("Deployment", &ObjectKey::new("default", "web"), web);
    cluster.settle();
    cluster.ready_min = usize::MAX;
    cluster.pods_max = 0;
    cluster.events.clear();
    cluster
}

fn image(version: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": version}]}}}})
}

fn rolling(surge: &str, unavailable: &str) -> Value {
    let number = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
    json!({"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": number(surge), "maxUnavailable": number(unavailable)}})
}

fn progressing(cluster: &Cluster) -> (String, String) {
    let status = cluster.deployment().status.clone().unwrap();
    let conditions = status.conditions.unwrap();
    let condition = conditions.iter().find(|one| one.type_.as_deref() == Some("Progressing")).unwrap();
    (condition.status.clone().unwrap(), condition.reason.clone().unwrap())
}

fn size(image: &str, size: i32) -> (String, i32) {
    (image.to_owned(), size)
}

#[test]
fn a_rolling_update_keeps_to_its_bounds() {
    for (surge, unavailable, ready_min, pods_max) in
        [("1", "0", 4, 5), ("0", "1", 3, 4), ("25%", "25%", 3, 5), ("100%", "0", 4, 8), ("0", "100%", 0, 4)]
    {
        let mut cluster = started(&rolling(surge, unavailable), 4);
        cluster.edit(&image("v2"));
        cluster.settle();
        assert_eq!(cluster.sizes(), [size("v1", 0), size("v2", 4)], "{surge} {unavailable}");
        assert!(cluster.ready_min >= ready_min, "{surge} {unavailable}: {} ready", cluster.ready_min);
        assert!(cluster.pods_max <= pods_max, "{surge} {unavailable}: {} pods", cluster.pods_max);
        assert_eq!(progressing(&cluster), ("True".to_owned(), "NewReplicaSetAvailable".to_owned()));
        let revision =
            &cluster.deployment().metadata.annotations.clone().unwrap()["deployment.kubernetes.io/revision"];
        assert_eq!(revision, "2");
    }
}

#[test]
fn recreate_never_runs_two_versions_at_once() {
    let mut cluster = started(&json!({"type": "Recreate"}), 3);
    cluster.edit(&image("v2"));
    cluster.settle();
    assert_eq!(cluster.sizes(), [size("v1", 0), size("v2", 3)]);
    assert_eq!((cluster.ready_min, cluster.pods_max), (0, 3));
}

#[test]
fn going_back_to_an_old_template_takes_its_replica_set_up_again() {
    let mut cluster = started(&rolling("1", "0"), 2);
    cluster.edit(&image("v2"));
    cluster.settle();
    cluster.edit(&image("v1"));
    cluster.settle();
    assert_eq!(cluster.sizes(), [size("v1", 2), size("v2", 0)]);
    let annotations = cluster
        .list::<ReplicaSet>("ReplicaSet")
        .iter()
        .find(|one| one.spec.replicas == Some(2))
        .and_then(|one| one.metadata.annotations.clone())
        .unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn only_so_many_old_replica_sets_are_kept() {
    let mut cluster = started(&rolling("1", "0"), 1);
    for version in ["v2", "v3", "v4", "v5"] {
        cluster.edit(&image(version));
        cluster.settle();
    }
    assert_eq!(cluster.sizes(), [size("v3", 0), size("v4", 0), size("v5", 1)]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut cluster = started(&rolling("1", "0"), 2);
    cluster.edit(&json!({"spec": {"paused": true}}));
    cluster.edit(&image("v2"));
    cluster.edit(&json!({"spec": {"replicas": 4}}));
    cluster.settle();
    assert_eq!(cluster.sizes(), [size("v1", 4)]);
    assert_eq!(progressing(&cluster), ("Unknown".to_owned(), "DeploymentPaused".to_owned()));
    cluster.edit(&json!({"spec": {"paused": false}}));
    cluster.settle();
    assert_eq!(cluster.sizes(), [size("v1", 0), size("v2", 4)]);
}

#[test]
fn a_change_of_scale_in_a_stuck_rollout_is_shared() {
    let mut cluster = started(&rolling("3", "2"), 10);
    cluster.healthy = false;
    cluster.edit(&image("v2"));
    cluster.settle();
    // Upstream's example: 8 old pods and 5 new ones of 10 become 9 and 7... in proportion to 13 allowed then, 18 now.
    assert_eq!(cluster.sizes(), [size("v1", 8), size("v2", 5)]);
    cluster.edit(&json!({"spec": {"replicas": 15}}));
    cluster.settle();
    assert_eq!(cluster.sizes(), [size("v1", 11), size("v2", 7)]);
}

#[test]
fn a_rollout_that_does_not_move_times_out() {
    let mut cluster = started(&rolling("1", "0"), 1);
    cluster.healthy = false;
    cluster.edit(&image("v2"));
    cluster.settle();
    cluster.now = time::plus(cluster.now, Duration::from_secs(700));
    cluster.settle();
    assert_eq!(progressing(&cluster), ("False".to_owned(), "ProgressDeadlineExceeded".to_owned()));
    cluster.healthy = true;
    cluster.settle();
    assert_eq!(progressing(&cluster), ("True".to_owned(), "NewReplicaSetAvailable".to_owned()));
}
