//! What the tests here begin with: grants, accounts, pods, and waiting for an answer.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client, DEADLINE};

/// Repeats a request until its answer has this code: policy and caches follow writes with a small delay.
pub(super) async fn until<F: Future<Output = Answer>>(code: u16, mut ask: impl FnMut() -> F) -> Answer {
    let wait = async {
        loop {
            let answer = ask().await;
            if answer.code == code {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("no answer with code {code}"))
}

/// Gives user `name` a cluster role with these rules and waits until it holds `probe`.
pub(super) async fn grant(admin: &Client, name: &str, rules: Value) {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]
    });
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    let first = &rules[0];
    let pick = |field: &str| first[field][0].as_str().unwrap_or_default().to_owned();
    let (verb, group, resource) = (pick("verbs"), pick("apiGroups"), pick("resources"));
    let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": name, "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "subresource": subresource}}
    });
    let ask = async || admin.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
    let wait = async {
        while ask().await.expect(201)["status"]["allowed"] != json!(true) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the grant holds in time");
}

/// A service account, as its controller would make it.
pub(super) async fn service_account(admin: &Client, namespace: &str, name: &str) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    admin.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account).await.expect(201);
}

/// A pod with one container.
pub(super) fn pod(name: &str, spec: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}]}
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}
