//! What admission sees of a written Scale: the Scale, as `deployments/scale`, and nothing of the object behind it.

use serde_json::{Value, json};

use super::webhooks::{configuration, hook, install, patch, requests};
use crate::custom::{self, shapes::fleet};
use crate::server::TestServer;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

fn deployment(replicas: u32) -> Value {
    let labels = json!({"app": "web"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

/// The rule of a hook or policy about updates of `resource`.
fn rules(resource: &str) -> Value {
    json!([{"operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": [resource]}])
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_about_scales_see_and_change_scales() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(DEPLOYMENTS, &deployment(2)).await.expect(201);
    let whole = hook(&server, |_request| json!({"allowed": false})).await;
    let changes = hook(&server, |request| match request["object"]["spec"]["replicas"].as_u64() {
        Some(replicas) if replicas > 5 => {
            patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]))
        }
        _ => json!({"allowed": true}),
    })
    .await;
    let sees = hook(&server, |_request| json!({"allowed": true})).await;
    let about = |resource| json!({"rules": rules(resource)});
    install(&client, &configuration("Validating", "whole", &whole, &about("deployments"))).await;
    install(&client, &configuration("Mutating", "changes", &changes, &about("deployments/scale"))).await;
    install(&client, &configuration("Validating", "sees", &sees, &about("*/scale"))).await;

    let path = format!("{DEPLOYMENTS}/web/scale");
    let scale = client.patch(&path, "merge", &json!({"spec": {"replicas": 9}})).await.expect(200);
    assert_eq!(scale["spec"]["replicas"], 5, "as the hook wants it");
    assert_eq!(client.get(&format!("{DEPLOYMENTS}/web")).await.expect(200)["spec"]["replicas"], 5);
    assert_eq!(requests(&whole), [] as [Value; 0], "it is about the deployment");
    let asked = requests(&sees).remove(0);
    assert_eq!(asked["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(asked["resource"], json!({"group": "apps", "version": "v1", "resource": "deployments"}));
    assert_eq!((&asked["subResource"], &asked["name"]), (&json!("scale"), &json!("web")));
    assert_eq!(asked["object"]["kind"], "Scale");
    assert_eq!(asked["object"]["status"], json!({"replicas": 0, "selector": "app=web"}));
    assert_eq!(
        (&asked["object"]["spec"], &asked["oldObject"]["spec"]),
        (&json!({"replicas": 5}), &json!({"replicas": 2}))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_about_scales_judge_scales() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(DEPLOYMENTS, &deployment(2)).await.expect(201);
    for (name, resource, expression) in [
        ("whole", "deployments", "object.spec.replicas < 4"),
        (
            "scale",
            "deployments/scale",
            "request.kind.kind == 'Scale' && object.spec.replicas < 6 && oldObject.kind == 'Scale'",
        ),
    ] {
        let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {"matchConstraints": {"resourceRules": rules(resource)}, "validations": [{"expression": expression}]}});
        client.post(&format!("{REGISTRATION}/validatingadmissionpolicies"), &policy).await.expect(201);
        let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]}});
        client.post(&format!("{REGISTRATION}/validatingadmissionpolicybindings"), &binding).await.expect(201);
    }
    // A list waits until the cache has the bindings, which is what admission reads.
    client.get(&format!("{REGISTRATION}/validatingadmissionpolicybindings")).await.expect(200);
    let path = format!("{DEPLOYMENTS}/web/scale");
    client.patch(&path, "merge", &json!({"spec": {"replicas": 5}})).await.expect(200);
    let refused = client.patch(&path, "merge", &json!({"spec": {"replicas": 6}})).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("ValidatingAdmissionPolicy 'scale'"), "{refused}");
    let whole = client
        .patch(&format!("{DEPLOYMENTS}/web"), "merge", &json!({"spec": {"replicas": 6}}))
        .await
        .expect(422);
    assert!(whole["message"].as_str().unwrap().contains("ValidatingAdmissionPolicy 'whole'"), "{whole}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_about_another_version_sees_the_scale_as_it_is() {
    let server = TestServer::start().await;
    let client = server.admin();
    let mut fleet = fleet();
    let mut second = fleet["spec"]["versions"][0].clone();
    second["name"] = "v2".into();
    second["storage"] = false.into();
    fleet["spec"]["versions"].as_array_mut().unwrap().push(second);
    custom::install(&client, &fleet).await;
    let fleets = "/apis/scale.example.com/v2/fleets";
    let object = json!({"apiVersion": "scale.example.com/v2", "kind": "Fleet", "metadata": {"name": "f"}, "spec": {"replicas": 1}});
    client.post(fleets, &object).await.expect(201);
    let peer = hook(&server, |_request| json!({"allowed": true})).await;
    let about = json!([{"operations": ["UPDATE"], "apiGroups": ["scale.example.com"], "apiVersions": ["v1"], "resources": ["fleets/scale"]}]);
    let rules = json!({"rules": about, "namespaceSelector": {}});
    install(&client, &configuration("Validating", "old", &peer, &rules)).await;
    client.patch(&format!("{fleets}/f/scale"), "merge", &json!({"spec": {"replicas": 2}})).await.expect(200);
    let asked = requests(&peer).remove(0);
    assert_eq!(
        (&asked["resource"]["version"], &asked["requestResource"]["version"]),
        (&json!("v1"), &json!("v2"))
    );
    assert_eq!(
        (&asked["object"]["apiVersion"], &asked["object"]["kind"]),
        (&json!("autoscaling/v1"), &json!("Scale"))
    );
    server.stop().await;
}
