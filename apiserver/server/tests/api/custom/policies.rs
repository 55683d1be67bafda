//! Admission by expressions: policies with bindings and parameters.

use serde_json::{Value, json};

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
