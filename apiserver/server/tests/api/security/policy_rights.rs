//! Who writes or binds a policy must be able to read its parameters, on the real server.

use serde_json::{Value, json};

use super::{grant, until};
use crate::client::Client;
use crate::server::TestServer;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn policy(name: &str, parameters: &str) -> Value {
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": parameters},
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": ["pods"]}]},
        "validations": [{"expression": "true"}]});
    object("ValidatingAdmissionPolicy", name, &spec)
}

fn binding(policy: &str, parameters: &Value) -> Value {
    let mut reference = json!({"namespace": "default", "parameterNotFoundAction": "Deny"});
    reference.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    let spec = json!({"policyName": policy, "validationActions": ["Deny"], "paramRef": reference});
    object("ValidatingAdmissionPolicyBinding", "b", &spec)
}

async fn refused(client: &Client, resource: &str, object: &Value) -> String {
    let answer = client.post(&format!("{GROUP}/{resource}?dryRun=All"), object).await.expect(422);
    let causes = answer["details"]["causes"].as_array().unwrap().clone();
    assert_eq!(causes.len(), 1, "{answer}");
    format!("{}: {}", causes[0]["field"].as_str().unwrap(), causes[0]["message"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_by_a_policy_what_they_may_not_read() {
    let server = TestServer::start().await;
    let (admin, jane) = (server.admin(), server.user("jane", &["dev"]));
    let policies = json!(["validatingadmissionpolicies", "validatingadmissionpolicybindings"]);
    grant(
        &admin,
        "jane",
        json!([
            {"apiGroups": ["admissionregistration.k8s.io"], "resources": policies, "verbs": ["create", "update", "get"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]),
    )
    .await;
    let resource = "validatingadmissionpolicies";
    let user = "user &{jane  [dev system:authenticated] map[";
    let said = refused(&jane, resource, &policy("secrets", "Secret")).await;
    assert!(said.starts_with(&format!("spec.paramKind: Forbidden: {user}")), "{said}");
    let end = "must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)";
    assert!(said.ends_with(end), "{said}");
    let own =
        async || jane.post(&format!("{GROUP}/{resource}?dryRun=All"), &policy("maps", "ConfigMap")).await;
    until(201, own).await;
    admin.post(&format!("{GROUP}/{resource}"), &policy("secrets", "Secret")).await.expect(201);
    admin.post(&format!("{GROUP}/{resource}"), &policy("maps", "ConfigMap")).await.expect(201);
    let mut labelled = admin.get(&format!("{GROUP}/{resource}/secrets")).await.expect(200);
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let path = format!("{GROUP}/{resource}/secrets?dryRun=All");
    jane.put(&path, &labelled).await.expect(200);

    let resource = "validatingadmissionpolicybindings";
    let named = json!({"name": "x"});
    let said = refused(&jane, resource, &binding("secrets", &named)).await;
    assert!(said.starts_with(&format!("spec.paramRef: Forbidden: {user}")), "{said}");
    assert!(
        said.ends_with("does not have \"get\" permission on the object referenced by paramRef"),
        "{said}"
    );
    jane.post(&format!("{GROUP}/{resource}?dryRun=All"), &binding("maps", &named)).await.expect(201);
    let said = refused(&jane, resource, &binding("maps", &json!({"selector": {}}))).await;
    assert!(
        said.ends_with("does not have \"list\" permission on the object referenced by paramRef"),
        "{said}"
    );
    let said = refused(&jane, resource, &binding("nowhere", &named)).await;
    assert!(
        said.ends_with("does not have \"get\" permission on the object referenced by paramRef"),
        "{said}"
    );
    server.stop().await;
}
