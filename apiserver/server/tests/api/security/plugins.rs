//! Admission plugins of upstream's that are about volumes, nodes and sizes.

use std::collections::BTreeSet;

use serde_json::json;

use crate::server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn volumes_and_claims_get_their_finalizers() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v", "finalizers": ["x.io/y"]},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}}});
    let made = admin.post("/api/v1/persistentvolumes", &volume).await.expect(201);
    assert_eq!(made["metadata"]["finalizers"], json!(["x.io/y", "kubernetes.io/pv-protection"]));
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let path = "/api/v1/namespaces/default/persistentvolumeclaims";
    let made = admin.post(path, &claim).await.expect(201);
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let deleted = admin.delete(&format!("{path}/c")).await.expect(200);
    assert!(deleted["metadata"]["deletionTimestamp"].is_string(), "it stays until nobody uses it");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_get_their_nodes_zone_when_they_are_bound_and_grow_within_it() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {
        "topology.kubernetes.io/zone": "z1", "kubernetes.io/os": "linux", "other": "x"}},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
    admin.post("/api/v1/nodes", &node).await.expect(201);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "64Mi"}}}]}});
    let pods = "/api/v1/namespaces/default/pods";
    admin.post(pods, &pod).await.expect(201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"kind": "Node", "name": "n"}});
    admin.post(&format!("{pods}/p/binding"), &binding).await.expect(201);
    let bound = admin.get(&format!("{pods}/p")).await.expect(200);
    assert_eq!(bound["metadata"]["labels"], json!({"topology.kubernetes.io/zone": "z1"}));
    let grow =
        |cpu: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    let refused = admin.patch(&format!("{pods}/p/resize"), "strategic-merge", &grow("3")).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "pods \"p\" is forbidden: Node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000"
    );
    admin.patch(&format!("{pods}/p/resize"), "strategic-merge", &grow("2")).await.expect(200);
    server.stop().await;
}

/// What upstream does with a plugin by default.
#[derive(Clone, Copy, PartialEq)]
enum Standing {
    /// It is off.
    Off,
    /// It is on.
    On,
    /// It is on, and does nothing unless an alpha feature is switched on: not built here.
    Idle,
}
use Standing::{Idle, Off, On};

/// kube-apiserver 1.36's plugins in the order in which they run (`AllOrderedPlugins`, `DefaultOffAdmissionPlugins`, and the
/// feature gates that plugins look at).
const UPSTREAM: [(&str, Standing); 41] = [
    ("AlwaysAdmit", Off),
    ("NamespaceAutoProvision", Off),
    ("NamespaceLifecycle", On),
    ("NamespaceExists", Off),
    ("LimitPodHardAntiAffinityTopology", Off),
    ("LimitRanger", On),
    ("ServiceAccount", On),
    ("NodeRestriction", Off),
    ("TaintNodesByCondition", On),
    ("AlwaysPullImages", Off),
    ("ImagePolicyWebhook", Off),
    ("PodSecurity", On),
    ("PodNodeSelector", Off),
    ("Priority", On),
    ("DefaultTolerationSeconds", On),
    ("PodTolerationRestriction", Off),
    ("EventRateLimit", Off),
    ("ExtendedResourceToleration", Off),
    ("DefaultStorageClass", On),
    ("StorageObjectInUseProtection", On),
    ("PodGroupProtection", Idle), // GenericWorkload
    ("OwnerReferencesPermissionEnforcement", Off),
    ("PersistentVolumeClaimResize", On),
    ("RuntimeClass", On),
    ("CertificateApproval", On),
    ("CertificateSigning", On),
    ("ClusterTrustBundleAttest", On),
    ("CertificateSubjectRestriction", On),
    ("DefaultIngressClass", On),
    ("DenyServiceExternalIPs", Off),
    ("PodTopologyLabels", On),
    ("PodGroupWorkloadExists", Idle), // GenericWorkload
    ("NodeDeclaredFeatureValidator", On),
    ("JobValidation", Idle), // WorkloadWithJob
    ("PodResizeValidator", On),
    ("MutatingAdmissionPolicy", On),
    ("MutatingAdmissionWebhook", On),
    ("ValidatingAdmissionPolicy", On),
    ("ValidatingAdmissionWebhook", On),
    ("ResourceQuota", On),
    ("AlwaysDeny", Off),
];

/// One step here is two of upstream's, which touch different kinds: the second one's place does not matter.
const ELSEWHERE: [&str; 1] = ["DefaultIngressClass"];

#[tokio::test(flavor = "multi_thread")]
async fn every_plugin_that_upstream_has_on_is_here_in_its_place() {
    let server = TestServer::start().await;
    let here: Vec<_> = server.server.admission_plugins().to_vec();
    let known: Vec<_> = UPSTREAM.iter().map(|(name, _)| *name).collect();
    let of = |standing| UPSTREAM.iter().filter(move |(_, is)| *is == standing).map(|(name, _)| *name);
    // Kubernetes' own installers switch this one on.
    let wanted: BTreeSet<_> = of(On).chain(["NodeRestriction"]).collect();
    let built: BTreeSet<_> = here.iter().copied().filter(|name| known.contains(name)).collect();
    assert_eq!(built, wanted);
    let places: Vec<_> = here
        .iter()
        .filter(|name| !ELSEWHERE.contains(name))
        .filter_map(|name| known.iter().position(|one| one == name))
        .collect();
    assert!(places.is_sorted(), "{here:?}");
    let missing = include_str!("../../../../../docs/MISSING.md");
    for name in of(Idle) {
        assert!(missing.contains(name), "{name} is not built, and docs/MISSING.md does not say so");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_node_must_support_is_refused_where_it_does_not() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let status = |features: &[&str]| json!({"allocatable": {"cpu": "8", "memory": "8Gi"}, "declaredFeatures": features});
    for (name, features) in [("plain", &[][..]), ("able", &["GuaranteedQoSPodCPUResize"][..])] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
            "status": status(features)});
        admin.post("/api/v1/nodes", &node).await.expect(201);
        let amounts = json!({"cpu": "1", "memory": "64Mi"});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": name,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": amounts, "limits": amounts}}]}});
        let made = admin.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
        assert_eq!(made["status"]["qosClass"], "Guaranteed");
        let amounts = json!({"cpu": "2", "memory": "64Mi"});
        let grow = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": amounts, "limits": amounts}}]}});
        let answer = admin
            .patch(&format!("/api/v1/namespaces/default/pods/{name}/resize"), "strategic-merge", &grow)
            .await;
        if features.is_empty() {
            assert_eq!(answer.code, 403);
            assert_eq!(
                answer.json()["message"],
                "pods \"plain\" is forbidden: pod update requires features GuaranteedQoSPodCPUResize which are not available on node \"plain\""
            );
        } else {
            answer.expect(200);
        }
    }
    server.stop().await;
}
