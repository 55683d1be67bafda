//! What admission adds and refuses.

use serde_json::json;

use super::{pod, service_account};
use crate::client::config_map;
use crate::server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_have_a_lifecycle() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let map = config_map("m", &json!({}), &json!({}));
    let missing = admin.post("/api/v1/namespaces/none/configmaps", &map).await.expect(404);
    assert_eq!(missing["message"], r#"namespaces "none" not found"#);
    let immortal = admin.delete("/api/v1/namespaces/kube-system").await.expect(403);
    assert_eq!(
        immortal["message"],
        r#"namespaces "kube-system" is forbidden: this namespace may not be deleted"#
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "going"}});
    admin.post("/api/v1/namespaces", &namespace).await.expect(201);
    admin.delete("/api/v1/namespaces/going").await;
    let refused = super::until(403, || admin.post("/api/v1/namespaces/going/configmaps", &map)).await.json();
    assert_eq!(
        refused["message"],
        r#"configmaps "m" is forbidden: unable to create new content in namespace going because it is being terminated"#
    );
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_account_token_priority_and_tolerations() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let pods = "/api/v1/namespaces/default/pods";
    let refused = admin.post(pods, &pod("p", &json!({"serviceAccountName": "none"}))).await.expect(403);
    assert_eq!(
        refused["message"],
        r#"pods "p" is forbidden: error looking up service account default/none: serviceaccount "none" not found"#
    );
    service_account(&admin, "default", "default").await;
    let made =
        admin.post(pods, &pod("p", &json!({"priorityClassName": "system-node-critical"}))).await.expect(201);
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["priority"], 2_000_001_000);
    assert_eq!(spec["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    let volume = &spec["volumes"][0];
    assert!(volume["name"].as_str().unwrap().starts_with("kube-api-access-"));
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
    let mount = &spec["containers"][0]["volumeMounts"][0];
    assert_eq!((&mount["name"], &mount["readOnly"]), (&volume["name"], &json!(true)));
    let unknown = admin.post(pods, &pod("q", &json!({"priorityClassName": "none"}))).await.expect(403);
    assert_eq!(unknown["message"], r#"pods "q" is forbidden: no PriorityClass with name none was found"#);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_once_and_evicted() {
    let server = TestServer::start().await;
    let admin = server.admin();
    service_account(&admin, "default", "default").await;
    let path = "/api/v1/namespaces/default/pods";
    admin.post(path, &pod("p", &json!({}))).await.expect(201);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"}
    });
    let scheduler = server.user("system:kube-scheduler", &[]);
    scheduler.post(&format!("{path}/p/binding"), &binding).await.expect(201);
    let bound = admin.get(&format!("{path}/p")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let again = scheduler.post(&format!("{path}/p/binding"), &binding).await.expect(409);
    assert_eq!(
        again["message"],
        r#"Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1""#
    );
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    admin.post(&format!("{path}/p/eviction"), &eviction).await.expect(201);
    let evicted = admin.get(&format!("{path}/p")).await.expect(200);
    assert!(evicted["metadata"]["deletionTimestamp"].is_string());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_starts_with_its_own_objects() {
    let server = TestServer::start().await;
    let admin = server.admin();
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        admin.get(&format!("/api/v1/namespaces/{namespace}")).await.expect(200);
    }
    let service = admin.get("/api/v1/namespaces/default/services/kubernetes").await.expect(200);
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    let slice =
        admin.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await.expect(200);
    assert_eq!(slice["endpoints"][0]["addresses"][0], "192.0.2.1");
    assert_eq!(slice["ports"][0]["port"], server.server.local_addr().port());
    let class =
        admin.get("/apis/scheduling.k8s.io/v1/priorityclasses/system-cluster-critical").await.expect(200);
    assert_eq!(class["value"], 2_000_000_000);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trust_bundle_of_a_signer_needs_the_right_to_attest() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let bundles = json!({"verbs": ["create"], "apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"]});
    super::grant(&admin, "jane", json!([bundles])).await;
    let attests = json!({"verbs": ["attest"], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
        "resourceNames": ["example.com/*"]});
    super::grant(&admin, "joe", json!([bundles, attests])).await;
    let bundle = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle", "metadata": {"name": "example.com:any:a"},
        "spec": {"signerName": "example.com/any", "trustBundle": server.ca.certificate_pem()}});
    let path = "/apis/certificates.k8s.io/v1/clustertrustbundles";
    let refused = server.user("jane", &[]).post(path, &bundle).await.expect(403);
    assert_eq!(
        refused["message"],
        "clustertrustbundles.certificates.k8s.io \"example.com:any:a\" is forbidden: user not permitted to attest for signerName \"example.com/any\""
    );
    server.user("joe", &[]).post(path, &bundle).await.expect(201);
    server.stop().await;
}
