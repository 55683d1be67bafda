//! Validation rules in CEL: in definitions, and over objects.

use serde_json::{Value, json};

use super::{CRDS, definition, install, version};
use crate::server::TestServer;

const ROUTES: &str = "/apis/routes.example.com/v1/namespaces/default/httproutes";

/// As Gateway API's HTTPRoute: rules over lists of matches and filters, with bounds that keep them cheap.
fn http_route() -> Value {
    let header = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "maxLength": 64}, "value": {"type": "string", "maxLength": 256}}});
    let filter = json!({"type": "object", "required": ["type"], "properties": {
            "type": {"type": "string", "enum": ["RequestHeaderModifier", "RequestRedirect"]},
            "requestHeaderModifier": {"type": "object", "properties": {
                "add": {"type": "array", "maxItems": 16, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": header}}},
            "requestRedirect": {"type": "object", "properties": {"statusCode": {"type": "integer", "default": 302}}}},
        "x-kubernetes-validations": [
            {"rule": "!(has(self.requestRedirect) && self.type != 'RequestRedirect')",
                "message": "filter.requestRedirect must be nil if the filter.type is not RequestRedirect"},
            {"rule": "self.type != 'RequestRedirect' || has(self.requestRedirect)", "fieldPath": ".requestRedirect",
                "reason": "FieldValueRequired", "message": "filter.requestRedirect must be specified"}]});
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object",
        "properties": {
            "hostnames": {"type": "array", "maxItems": 16, "items": {"type": "string", "maxLength": 253}},
            "weight": {"type": "integer"},
            "class": {"type": "string", "maxLength": 32, "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "Value is immutable"}]},
            "rules": {"type": "array", "maxItems": 16, "items": {"type": "object", "properties": {
                    "name": {"type": "string", "maxLength": 63},
                    "filters": {"type": "array", "maxItems": 16, "items": filter, "x-kubernetes-validations": [
                        {"rule": "self.filter(f, f.type == 'RequestRedirect').size() <= 1", "message": "RequestRedirect filter cannot be repeated"}]}}}}},
        "x-kubernetes-validations": [
            {"rule": "!has(self.weight) || self.weight >= 0 && self.weight <= 100",
                "messageExpression": "'weight is %d, which is not a percentage'.format([self.weight])"},
            {"rule": "!has(self.rules) || self.rules.all(r, !has(r.name) || self.rules.exists_one(o, has(o.name) && o.name == r.name))",
                "message": "Rule name must be unique within the route"}]}}});
    definition("routes.example.com", "HTTPRoute", "Namespaced", &json!([version("v1", &schema)]))
}

fn route(spec: &Value) -> Value {
    json!({"apiVersion": "routes.example.com/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": spec})
}

#[tokio::test]
async fn rules_hold_on_create_and_on_update() {
    let server = TestServer::start().await;
    let client = server.admin();
    install(&client, &http_route()).await;
    for (spec, want) in [
        (json!({"weight": 101}), "spec: Invalid value: weight is 101, which is not a percentage"),
        (
            json!({"rules": [{"name": "a"}, {"name": "a"}]}),
            "spec: Invalid value: Rule name must be unique within the route",
        ),
        (
            json!({"rules": [{"filters": [{"type": "RequestRedirect"}]}]}),
            "spec.rules[0].filters[0].requestRedirect: Required value: filter.requestRedirect must be specified",
        ),
        (
            json!({"rules": [{"filters": [{"type": "RequestHeaderModifier", "requestRedirect": {}}]}]}),
            "spec.rules[0].filters[0]: Invalid value: filter.requestRedirect must be nil if the filter.type is not RequestRedirect",
        ),
        (
            json!({"rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": {}}, {"type": "RequestRedirect", "requestRedirect": {}}]}]}),
            "spec.rules[0].filters: Invalid value: RequestRedirect filter cannot be repeated",
        ),
    ] {
        let refused = client.post(ROUTES, &route(&spec)).await.expect(422);
        assert_eq!(refused["message"], format!("HTTPRoute.routes.example.com \"r\" is invalid: {want}"));
    }
    let good = json!({"class": "a", "weight": 5, "rules": [{"name": "a", "filters": [{"type": "RequestRedirect", "requestRedirect": {}}]}]});
    let stored = client.post(ROUTES, &route(&good)).await.expect(201);
    assert_eq!(stored["spec"]["rules"][0]["filters"][0]["requestRedirect"]["statusCode"], 302);
    let object = format!("{ROUTES}/r");
    let refused = client.patch(&object, "merge", &json!({"spec": {"class": "b"}})).await.expect(422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .ends_with("spec.class: Invalid value: \"b\": Value is immutable"),
        "{refused}"
    );
    client.patch(&object, "merge", &json!({"spec": {"weight": 6}})).await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn rules_that_do_not_compile_or_cost_too_much_are_refused() {
    let server = TestServer::start().await;
    let client = server.admin();
    let with = |spec: Value| {
        definition(
            "bad.example.com",
            "Bad",
            "Namespaced",
            &json!([version("v1", &json!({"type": "object", "properties": {"spec": spec}}))]),
        )
    };
    let unbounded = json!({"type": "array", "items": {"type": "string"}});
    let path = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]";
    for (spec, want) in [
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [{"rule": "self.b == 'x'"}]}),
            format!(
                "{path}.rule: Invalid value: {{\"rule\":\"self.b == 'x'\"}}: compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b == 'x'\n | ....^"
            ),
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "'a'"}]}),
            format!(
                "{path}.rule: Invalid value: {{\"rule\":\"'a'\"}}: cel expression must evaluate to a bool"
            ),
        ),
        (
            json!({"type": "object", "properties": {"l": unbounded}, "x-kubernetes-validations": [{"rule": "self.l.all(a, self.l.all(b, a == b))"}]}),
            format!(
                "{path}.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule"
            ),
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "true", "messageExpression": "1"}]}),
            format!("{path}.messageExpression: Invalid value"),
        ),
        (
            json!({"type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "true", "reason": "Odd"}]}),
            format!("{path}.reason: Unsupported value: \"Odd\""),
        ),
        (
            json!({"type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "self.matches('(a{1000}){1000}')"}]}),
            format!("{path}.rule: Invalid value"),
        ),
    ] {
        let crd = with(spec);
        let answer = tokio::time::timeout(std::time::Duration::from_secs(1), client.post(CRDS, &crd)).await;
        let refused = answer.expect("an answer within a second").expect(422);
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains(&want), "wanted {want}\ngot {message}");
    }
    server.stop().await;
}
