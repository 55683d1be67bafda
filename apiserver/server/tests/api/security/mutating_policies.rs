//! Mutating admission policies, on the real server.

use serde_json::{Value, json};

use super::pod;
use crate::client::{Client, config_map};
use crate::custom::{definition, install, version};
use crate::server::TestServer;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A policy about creates and updates of `resource`, `extra` over the usual.
fn policy(name: &str, (group, resource): (&str, &str), mutations: &Value, extra: &Value) -> Value {
    let mut spec = json!({
        "matchConstraints": {"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"], "resources": [resource]}]},
        "failurePolicy": "Fail", "reinvocationPolicy": "Never", "mutations": mutations});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": spec})
}

fn apply(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patch(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

/// Creates a policy and a binding of the same name.
async fn bind(client: &Client, policy: &Value, extra: &Value) {
    client.post(&format!("{GROUP}/mutatingadmissionpolicies"), policy).await.expect(201);
    let name = &policy["metadata"]["name"];
    let mut spec = json!({"policyName": name});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": spec});
    client.post(&format!("{GROUP}/mutatingadmissionpolicybindings"), &binding).await.expect(201);
}

/// Tries a create that changes nothing until its answer is as wanted: the policies have then been taken in.
async fn until(client: &Client, path: &str, object: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let wait = async {
        loop {
            last = client.post(&format!("{path}?dryRun=All"), object).await.json();
            if wanted(&last) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let acted = tokio::time::timeout(crate::client::DEADLINE / 4, wait).await.is_ok();
    assert!(acted, "the policy does not act in time: {last}");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_change_objects_by_apply_configurations_and_patches() {
    let server = TestServer::start().await;
    let client = server.admin();
    super::service_account(&client, "default", "default").await;
    let sidecar = apply(
        "Object{metadata: Object.metadata{labels: {'mesh': 'on'}}, \
         spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'proxy', image: 'proxy:1', restartPolicy: 'Always'}]}}",
    );
    let named = patch(
        "has(object.metadata.annotations) ? [] : [JSONPatch{op: 'add', path: '/metadata/annotations', value: {'by/policy': request.userInfo.username}}]",
    );
    let escaped = patch(
        "[JSONPatch{op: 'test', path: '/metadata/annotations/' + jsonpatch.escapeKey('by/policy'), value: 'admin'}, \
          JSONPatch{op: 'replace', path: '/metadata/annotations/' + jsonpatch.escapeKey('by/policy'), value: 'the ' + request.userInfo.username}]",
    );
    let conditions = json!({"matchConditions": [{"name": "no-proxy",
        "expression": "!has(object.spec.initContainers) || !object.spec.initContainers.exists(c, c.name == 'proxy')"}]});
    let mutations = json!([sidecar, named, escaped]);
    bind(&client, &policy("mesh", ("", "pods"), &mutations, &conditions), &json!({})).await;
    let plain = pod("p", &json!({}));
    until(&client, "/api/v1/namespaces/default/pods", &plain, |pod| pod["metadata"]["labels"] != Value::Null)
        .await;
    let made = client.post("/api/v1/namespaces/default/pods", &plain).await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"mesh": "on"}));
    assert_eq!(made["metadata"]["annotations"], json!({"by/policy": "the admin"}));
    let proxy = &made["spec"]["initContainers"][0];
    assert_eq!(
        (&proxy["name"], &proxy["imagePullPolicy"]),
        (&json!("proxy"), &json!("IfNotPresent")),
        "defaults come after"
    );
    assert_eq!(made["spec"]["containers"][0]["name"], "c");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_selectors_and_reinvocation() {
    let server = TestServer::start().await;
    let client = server.admin();
    let team = |name: &str, team: &str| config_map(name, &json!({"kind": "team"}), &json!({"team": team}));
    client.post("/api/v1/namespaces/kube-system/configmaps", &team("one", "blue")).await.expect(201);
    // The first policy copies what the second adds: it is asked again, as the object changed after it.
    let copies = apply(
        "has(object.data) && 'added' in object.data ? Object{data: Object.data{copied: object.data.added}} : Object{}",
    );
    let copies =
        policy("a-copies", ("", "configmaps"), &json!([copies]), &json!({"reinvocationPolicy": "IfNeeded"}));
    let adds = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "team", "expression": "params.data.team"}]});
    let adds = policy(
        "b-adds",
        ("", "configmaps"),
        &json!([apply("Object{data: Object.data{added: variables.team}}")]),
        &adds,
    );
    let selected = json!({"matchResources": {"objectSelector": {"matchLabels": {"managed": "yes"}}}});
    bind(&client, &copies, &selected).await;
    let params = json!({"paramRef": {"selector": {"matchLabels": {"kind": "team"}}, "namespace": "kube-system",
        "parameterNotFoundAction": "Deny"}, "matchResources": selected["matchResources"]});
    bind(&client, &adds, &params).await;
    let managed = config_map("m", &json!({"managed": "yes"}), &json!({"k": "v"}));
    until(&client, MAPS, &managed, |map| map["data"]["copied"] == "blue").await;
    let made = client.post(MAPS, &managed).await.expect(201);
    assert_eq!(made["data"], json!({"k": "v", "added": "blue", "copied": "blue"}));
    let other = client.post(MAPS, &config_map("o", &json!({}), &json!({"k": "v"}))).await.expect(201);
    assert_eq!(other["data"], json!({"k": "v"}));
    client.delete("/api/v1/namespaces/kube-system/configmaps/one").await.expect(200);
    let refused = until(&client, MAPS, &managed, |answer| answer["code"] == 403).await;
    assert_eq!(
        refused["message"],
        "policy 'b-adds' with binding 'b-adds' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told_in_upstreams_words_or_ignored() {
    let server = TestServer::start().await;
    let client = server.admin();
    let try_it = async |mutation: Value, extra: Value| {
        let policy = policy("p", ("", "configmaps"), &json!([mutation]), &extra);
        bind(&client, &policy, &json!({})).await;
        let map = config_map("m", &json!({}), &json!({"k": "v"}));
        let answer =
            until(&client, MAPS, &map, |answer| answer["code"] == 403 || extra["failurePolicy"] == "Ignore")
                .await;
        client.delete(&format!("{GROUP}/mutatingadmissionpolicybindings/p")).await.expect(200);
        client.delete(&format!("{GROUP}/mutatingadmissionpolicies/p")).await.expect(200);
        until(&client, MAPS, &map, |answer| answer["kind"] == "ConfigMap").await;
        answer
    };
    for (mutation, why) in [
        (
            apply("Object{data: Object.wrong{a: 'b'}}"),
            r#"type mismatch: unexpected type name "Object.wrong", expected "Object.data", which matches field name path from root Object type"#,
        ),
        (
            apply("Object{nothing: 1}"),
            "error applying patch: failed to convert patch object to typed object: .nothing: field not declared in schema",
        ),
        (apply("Object{data: Object.data{k: object.nope}}"), "no such key: nope"),
        (patch("[JSONPatch{op: 'remove', path: '/nope'}]"), "JSON Patch: "),
    ] {
        let refused = try_it(mutation, json!({})).await;
        assert_eq!((&refused["reason"], &refused["code"]), (&json!("Invalid"), &json!(403)));
        let message = refused["message"].as_str().unwrap();
        let told = message.strip_prefix("policy 'p' with binding 'p' denied request: ").expect(message);
        assert!(told.contains(why), "{told}");
    }
    let kept =
        try_it(apply("Object{data: Object.data{k: object.nope}}"), json!({"failurePolicy": "Ignore"})).await;
    assert_eq!(kept["data"], json!({"k": "v"}));
    let tested = try_it(
        patch("[JSONPatch{op: 'test', path: '/data/k', value: 'x'}]"),
        json!({"failurePolicy": "Ignore"}),
    )
    .await;
    assert_eq!(tested["data"], json!({"k": "v"}));

    let policies = format!("{GROUP}/mutatingadmissionpolicies");
    for (mutation, field, why) in [
        (
            apply("Thing{}"),
            "applyConfiguration",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'Thing' (in container '')",
        ),
        (apply("[1]"), "applyConfiguration", "must evaluate to Object but got list(int)"),
        (patch("Object{}"), "jsonPatch", "must evaluate to list(JSONPatch) but got Object"),
    ] {
        let policy = policy("bad", ("", "configmaps"), &json!([mutation]), &json!({}));
        let refused = client.post(&policies, &policy).await.expect(422);
        let message = refused["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("spec.mutations[0].{field}.expression: Invalid value")),
            "{message}"
        );
        assert!(message.contains(why), "{message}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_changed_by_their_schema() {
    let server = TestServer::start().await;
    let client = server.admin();
    let rule = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "weight": {"type": "integer", "default": 1}}});
    let spec = json!({"type": "object", "properties": {
        "hosts": {"type": "array", "items": {"type": "string"}},
        "rules": {"type": "array", "items": rule, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}}});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    install(&client, &definition("mut.example.com", "Route", "Namespaced", &json!([version("v1", &schema)])))
        .await;
    let routes = "/apis/mut.example.com/v1/namespaces/default/routes";
    let adds = apply("Object{spec: Object.spec{rules: [Object.spec.rules{name: 'b'}]}}");
    bind(&client, &policy("routes", ("mut.example.com", "routes"), &json!([adds]), &json!({})), &json!({}))
        .await;
    let route = json!({"apiVersion": "mut.example.com/v1", "kind": "Route", "metadata": {"name": "r"},
        "spec": {"hosts": ["h"], "rules": [{"name": "a", "weight": 5}]}});
    let made = until(&client, routes, &route, |made| made["spec"]["rules"][1] != Value::Null).await;
    assert_eq!(made["spec"]["rules"], json!([{"name": "a", "weight": 5}, {"name": "b", "weight": 1}]));
    let whole = apply("Object{spec: Object.spec{hosts: ['x']}}");
    bind(&client, &policy("whole", ("mut.example.com", "routes"), &json!([whole]), &json!({})), &json!({}))
        .await;
    let refused = until(&client, routes, &route, |answer| answer["code"] == 403).await;
    assert_eq!(
        refused["message"],
        "policy 'whole' with binding 'whole' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.hosts"
    );
    server.stop().await;
}
