//! RBAC from stored objects to answers.

use serde_json::json;

use super::{grant, service_account, until};
use crate::server::TestServer;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

#[tokio::test(flavor = "multi_thread")]
async fn default_roles_hold_their_rules_when_the_server_starts() {
    let server = TestServer::start().await;
    let admin = server.admin();
    for name in ["admin", "edit", "view"] {
        let role = admin.get(&format!("{RBAC}/clusterroles/{name}")).await.expect(200);
        assert!(role["rules"].as_array().unwrap().len() > 5, "{name}: {role}");
        assert_eq!(role["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
    }
    let scheduler = server.user("system:kube-scheduler", &[]);
    assert_eq!(scheduler.get("/api/v1/pods").await.code, 200);
    assert_eq!(scheduler.get("/api/v1/secrets").await.code, 403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_grants_and_its_deletion_takes_away() {
    let server = TestServer::start().await;
    let (admin, jane) = (server.admin(), server.user("jane", &[]));
    let path = "/api/v1/namespaces/default/configmaps";
    let refused = jane.get(path).await.expect(403);
    assert_eq!(
        refused["message"],
        r#"configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default""#
    );
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "jane"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]
    });
    admin.post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding).await.expect(201);
    until(200, || jane.get(path)).await;
    assert_eq!(jane.get("/api/v1/namespaces/kube-system/configmaps").await.code, 403);
    assert_eq!(jane.get("/api/v1/namespaces/default/secrets").await.code, 403);
    admin.delete(&format!("{RBAC}/namespaces/default/rolebindings/jane")).await.expect(200);
    until(403, || jane.get(path)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_review_lists_what_a_user_may() {
    let server = TestServer::start().await;
    let admin = server.admin();
    grant(&admin, "jane", json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}, {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]}])).await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let answer = server
        .user("jane", &[])
        .post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review)
        .await
        .expect(201);
    let rules = answer["status"]["resourceRules"].as_array().unwrap();
    assert!(rules.contains(&json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"]})), "{answer}");
    assert!(
        answer["status"]["nonResourceRules"]
            .as_array()
            .unwrap()
            .iter()
            .any(|rule| rule["nonResourceURLs"].to_string().contains("/version"))
    );
    assert_eq!(answer["status"]["incomplete"], false);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_hold_the_rights_may_grant_them() {
    let server = TestServer::start().await;
    let admin = server.admin();
    grant(&admin, "jane", json!([
        {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]},
        {"verbs": ["create", "update", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]}
    ])).await;
    let jane = server.user("jane", &[]);
    let role = |verbs: serde_json::Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "secrets"},
            "rules": [{"verbs": verbs, "apiGroups": [""], "resources": ["secrets"]}]
        })
    };
    let path = format!("{RBAC}/namespaces/default/roles");
    let refused = jane.post(&path, &role(json!(["get", "list"]))).await.expect(403);
    assert_eq!(
        refused["message"],
        "roles.rbac.authorization.k8s.io \"secrets\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"list\"]}"
    );
    jane.post(&path, &role(json!(["get"]))).await.expect(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_writes_only_about_itself() {
    let server = TestServer::start().await;
    let admin = server.admin();
    service_account(&admin, "default", "default").await;
    let node = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    let (a, b) =
        (server.user("system:node:a", &["system:nodes"]), server.user("system:node:b", &["system:nodes"]));
    let made = a.post("/api/v1/nodes", &node("a")).await.expect(201);
    assert_eq!(made["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
    assert_eq!(a.post("/api/v1/nodes", &node("b")).await.code, 403);
    b.post("/api/v1/nodes", &node("b")).await.expect(201);
    let bound = super::pod("on-b", &json!({"nodeName": "b"}));
    admin.post("/api/v1/namespaces/default/pods", &bound).await.expect(201);
    let path = "/api/v1/namespaces/default/pods/on-b";
    let status = json!({"status": {"phase": "Failed"}});
    assert_eq!(a.patch(&format!("{path}/status"), "merge", &status).await.code, 403);
    assert_eq!(a.delete(path).await.code, 403);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "on-b"}});
    assert_eq!(a.post(&format!("{path}/eviction"), &eviction).await.code, 403);
    assert_eq!(
        a.post("/api/v1/namespaces/default/pods", &super::pod("own", &json!({"nodeName": "a"}))).await.code,
        403
    );
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    assert_eq!(a.post("/api/v1/namespaces/default/serviceaccounts/default/token", &token).await.code, 403);
    assert_eq!(
        b.patch(&format!("{path}/status"), "merge", &json!({"status": {"phase": "Running"}})).await.code,
        200
    );
    server.stop().await;
}
