//! Admission by expressions: policies with bindings and parameters.

use serde_json::{Value, json};

use super::{definition, install, version};
use crate::client::{Client, config_map};
use crate::server::TestServer;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn policy(spec: &Value) -> Value {
    let mut whole = json!({"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "small"}, "spec": whole})
}

fn binding(name: &str, actions: &[&str], params: &Value) -> Value {
    let mut spec = json!({"policyName": "small", "validationActions": actions});
    if !params.is_null() {
        spec["paramRef"] = params.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": spec})
}

/// Tries a create that changes nothing until its answer has this code: the policy has then been taken in.
async fn answered(client: &Client, object: &Value, code: u16) -> Value {
    for _attempt in 0..200 {
        let answer = client.post(&format!("{MAPS}?dryRun=All"), object).await;
        if answer.code == code {
            return answer.json();
        }
        tokio::task::yield_now().await;
    }
    panic!("no answer with code {code}");
}

#[tokio::test]
async fn a_policy_is_held_with_its_parameters() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &config_map("limits", &json!({}), &json!({"max": "1"}))).await.expect(201);
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConditions": [{"name": "not-limits", "expression": "object.metadata.name != 'limits'"}],
        "variables": [{"name": "size", "expression": "has(object.data) ? size(object.data) : 0"}],
        "validations": [{"expression": "variables.size <= int(params.data.max)", "reason": "Forbidden",
            "messageExpression": "'%d entries are too many'.format([variables.size])"}]});
    client.post(&format!("{GROUP}/validatingadmissionpolicies"), &policy(&spec)).await.expect(201);
    let params = json!({"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"});
    let bindings = format!("{GROUP}/validatingadmissionpolicybindings");
    client.post(&bindings, &binding("small", &["Deny"], &params)).await.expect(201);
    let large = config_map("large", &json!({}), &json!({"a": "1", "b": "2"}));
    let refused = answered(&client, &large, 403).await;
    assert_eq!(
        refused["message"],
        "configmaps \"large\" is forbidden: ValidatingAdmissionPolicy 'small' with binding 'small' denied request: 2 \
         entries are too many"
    );
    client.post(MAPS, &config_map("small", &json!({}), &json!({"a": "1"}))).await.expect(201);
    client.delete(&format!("{bindings}/small")).await.expect(200);
    client.post(&bindings, &binding("warns", &["Warn"], &params)).await.expect(201);
    answered(&client, &large, 201).await;
    let warned = client.post(MAPS, &large).await;
    assert_eq!(
        warned.header("warning"),
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'small' with binding 'warns': 2 entries are too many\""
    );
    server.stop().await;
}

#[tokio::test]
async fn expressions_about_custom_kinds_are_checked_by_their_schemas() {
    let server = TestServer::start().await;
    let client = server.admin();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer"}, "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}});
    let crd = definition("shop.example.com", "Shirt", "Namespaced", &json!([version("v1", &schema)]));
    install(&client, &crd).await;
    let spec = json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": ["shop.example.com"], "apiVersions": ["v1"],
            "operations": ["CREATE"], "resources": ["shirts"]}]},
        "paramKind": {"apiVersion": "shop.example.com/v1", "kind": "Shirt"},
        "validations": [
            {"expression": "object.spec.size <= params.spec.size && object.metadata.labels.size() > 0"},
            {"expression": "object.spec.sise > 1"},
            {"expression": "object.spec.size < 2 || params.spec.size == 'L'"}]});
    let policies = format!("{GROUP}/validatingadmissionpolicies");
    client.post(&policies, &policy(&spec)).await.expect(201);
    let mut watch = client.watch(&format!("{policies}?watch=1"), "application/json").await;
    let status = loop {
        let event = watch.next().await.expect("one more event");
        if event["object"]["status"]["observedGeneration"] == 1 {
            break event["object"]["status"].clone();
        }
    };
    let warnings = status["typeChecking"]["expressionWarnings"].as_array().unwrap();
    let told: Vec<(&str, &str)> = warnings
        .iter()
        .map(|one| {
            (one["fieldRef"].as_str().unwrap(), one["warning"].as_str().unwrap().lines().next().unwrap())
        })
        .collect();
    let kind = "shop.example.com/v1, Kind=Shirt: compilation failed: ERROR: <input>";
    assert_eq!(
        told,
        [
            ("spec.validations[1].expression", format!("{kind}:1:12: undefined field 'sise'").as_str()),
            (
                "spec.validations[2].expression",
                format!("{kind}:1:42: found no matching overload for '_==_' applied to '(int, string)'")
                    .as_str()
            ),
        ]
    );
    server.stop().await;
}
