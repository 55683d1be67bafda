//! The Pod Security Standards by namespace labels.

use serde_json::{Value, json};

use super::{pod, service_account};
use crate::client::Client;
use crate::server::TestServer;

async fn namespace(client: &Client, name: &str, labels: &Value) {
    let object =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    client.post("/api/v1/namespaces", &object).await.expect(201);
    service_account(client, name, "default").await;
}

fn with(container: &Value, spec: &Value) -> Value {
    let mut object = pod("p", spec);
    let target = object["spec"]["containers"][0].as_object_mut().unwrap();
    target.extend(container.as_object().unwrap().clone());
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_namespace_refuses_every_way_out() {
    let server = TestServer::start().await;
    let client = server.admin();
    namespace(&client, "base", &json!({"pod-security.kubernetes.io/enforce": "baseline"})).await;
    let pods = "/api/v1/namespaces/base/pods";
    let privileged = json!({"securityContext": {"privileged": true}});
    let ported = json!({"ports": [{"containerPort": 80, "hostPort": 80}]});
    let capable = json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}});
    let mut init = json!({"name": "i", "image": "i"});
    init.as_object_mut().unwrap().extend(privileged.as_object().unwrap().clone());
    for (container, spec, why) in [
        (&privileged, json!({}), "privileged"),
        (&ported, json!({}), "hostPort"),
        (&capable, json!({}), "non-default capabilities"),
        (&json!({}), json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), "hostPath volumes"),
        (
            &json!({}),
            json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
            "forbidden sysctls",
        ),
        (&json!({}), json!({"initContainers": [init]}), "privileged"),
    ] {
        let refused = client.post(pods, &with(container, &spec)).await.expect(403);
        let message = refused["message"].as_str().unwrap();
        let start = format!("pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": {why} (");
        assert!(message.starts_with(&start), "{message}");
    }
    client.post(pods, &pod("p", &json!({}))).await.expect(201);
    let ephemeral = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i", "securityContext": {"privileged": true}}]}});
    let refused = client.patch(&format!("{pods}/p/ephemeralcontainers"), "strategic-merge", &ephemeral).await;
    assert_eq!(refused.code, 403, "{refused:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_refuse_or_warn() {
    let server = TestServer::start().await;
    let client = server.admin();
    namespace(&client, "warned", &json!({"pod-security.kubernetes.io/warn": "restricted"})).await;
    let pods = "/api/v1/namespaces/warned/pods";
    let made = client.post(pods, &pod("p", &json!({}))).await;
    assert_eq!(made.code, 201);
    let warning = made.header("warning");
    assert!(
        warning.starts_with(
            r#"299 - "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false"#
        ),
        "{warning}"
    );
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
            "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]}}}});
    let made = client.post("/apis/apps/v1/namespaces/warned/deployments", &deployment).await;
    assert!(made.code == 201 && made.header("warning").contains("privileged"), "{made:?}");

    let path = "/api/v1/namespaces/warned";
    let stricter = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let changed = client.patch(path, "merge", &stricter).await;
    assert_eq!(changed.code, 200);
    let warnings: Vec<&str> =
        changed.headers.get_all("warning").iter().map(|v| v.to_str().unwrap()).collect();
    assert!(
        warnings[0]
            .contains(r#"existing pods in namespace \"warned\" violate the new PodSecurity enforce level"#),
        "{warnings:?}"
    );
    assert!(
        warnings[1].contains("p: allowPrivilegeEscalation != false, unrestricted capabilities"),
        "{warnings:?}"
    );
    let nonsense = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "strict"}}});
    let refused = client.patch(path, "merge", &nonsense).await.expect(422);
    assert!(
        refused["message"].as_str().unwrap().contains("must be one of privileged, baseline, restricted"),
        "{refused}"
    );
    server.stop().await;
}
