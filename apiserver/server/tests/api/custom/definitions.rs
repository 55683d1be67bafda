//! Definitions themselves: what is accepted, what follows, and what is refused.

use serde_json::{Value, json};

use super::shapes::{certificate, fleet, service_monitor};
use super::{CRDS, definition, install, version, wait_for};
use crate::server::TestServer;

#[tokio::test]
async fn a_definition_is_established_and_published() {
    let server = TestServer::start().await;
    let client = server.admin();
    let crd = install(&client, &certificate()).await;
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(crd["status"]["acceptedNames"]["listKind"], "CertificateList");
    assert_eq!(crd["spec"]["names"]["singular"], "certificate");
    assert_eq!(crd["spec"]["conversion"]["strategy"], "None");

    let plain = client.get("/apis/certs.example.com/v1").await.expect(200);
    let names: Vec<&str> =
        plain["resources"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["certificates", "certificates/status"]);
    assert_eq!(plain["resources"][0]["shortNames"], json!(["cert", "certs"]));
    assert_eq!(plain["resources"][0]["categories"], json!(["cert-manager"]));
    let groups = client.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "certs.example.com"));
    let aggregated = client
        .get_as("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
        .await
        .expect(200);
    let group =
        aggregated["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "certs.example.com");
    assert_eq!(group.unwrap()["versions"][0]["resources"][0]["resource"], "certificates");

    let v3 = client.get("/openapi/v3/apis/certs.example.com/v1").await.expect(200);
    let schema = &v3["components"]["schemas"]["com.example.certs.v1.Certificate"];
    assert_eq!(schema["description"], "A certificate that is kept valid.");
    assert_eq!(
        schema["properties"]["spec"]["properties"]["secretName"]["description"],
        "Where the certificate is kept."
    );
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Certificate");
    assert!(
        v3["paths"]["/apis/certs.example.com/v1/namespaces/{namespace}/certificates/{name}/status"]
            .is_object()
    );
    let v2 = client.get("/openapi/v2").await.expect(200);
    assert!(v2["definitions"]["com.example.certs.v1.CertificateList"].is_object());
    server.stop().await;
}

#[tokio::test]
async fn a_changed_schema_holds_at_once_and_shows_in_stored_objects() {
    let server = TestServer::start().await;
    let client = server.admin();
    let schema = |extra: Value| {
        let mut properties = json!({"a": {"type": "string"}});
        properties.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})
    };
    let mut crd = install(
        &client,
        &definition("live.example.com", "Thing", "Cluster", &json!([version("v1", &schema(json!({})))])),
    )
    .await;
    let things = "/apis/live.example.com/v1/things";
    let thing = json!({"apiVersion": "live.example.com/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"a": "x"}});
    client.post(things, &thing).await.expect(201);
    let mut watch = client.watch(&format!("{things}?watch=1"), "application/json").await;
    assert_eq!(watch.event().await, "ADDED one");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        schema(json!({"b": {"type": "integer", "default": 5}}));
    client.put(&format!("{CRDS}/things.live.example.com"), &crd).await.expect(200);
    // The default shows as soon as the definition's event is taken in; the watch goes on.
    let mut seen = Value::Null;
    for _attempt in 0..200 {
        seen = client.get(&format!("{things}/one")).await.expect(200)["spec"]["b"].clone();
        if seen == 5 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, 5);
    client.patch(&format!("{things}/one"), "merge", &json!({"spec": {"b": 6}})).await.expect(200);
    assert_eq!(watch.event().await, "MODIFIED one");
    server.stop().await;
}

#[tokio::test]
async fn names_that_are_taken_are_not_accepted_until_they_are_free() {
    let server = TestServer::start().await;
    let client = server.admin();
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    install(&client, &definition("n.example.com", "Foo", "Cluster", &json!([version("v1", &schema)]))).await;
    let mut second = definition("n.example.com", "Bar", "Cluster", &json!([version("v1", &schema)]));
    second["spec"]["names"]["shortNames"] = json!(["foo"]);
    client.post(CRDS, &second).await.expect(201);
    let refused = wait_for(&client, "bars.n.example.com", "NamesAccepted", "False").await;
    let condition = refused["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "NamesAccepted")
        .unwrap();
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&json!("ShortNamesConflict"), &json!("\"foo\" is already in use"))
    );
    assert_eq!(client.get("/apis/n.example.com/v1/bars").await.code, 404);
    client.delete(&format!("{CRDS}/foos.n.example.com")).await.expect(200);
    wait_for(&client, "bars.n.example.com", "Established", "True").await;
    client.get("/apis/n.example.com/v1/bars").await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn definitions_that_make_no_sense_are_refused_with_upstreams_words() {
    let server = TestServer::start().await;
    let client = server.admin();
    let schema =
        |tree: Value| definition("bad.example.com", "Bad", "Namespaced", &json!([version("v1", &tree)]));
    let in_spec = |spec: Value| schema(json!({"type": "object", "properties": {"spec": spec}}));
    let mut two_stored = schema(json!({"type": "object"}));
    let again = json!({"name": "v2", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}});
    two_stored["spec"]["versions"].as_array_mut().unwrap().push(again);
    let mut misnamed = schema(json!({"type": "object"}));
    misnamed["metadata"]["name"] = json!("other.bad.example.com");
    let mut protected =
        definition("x.k8s.io", "Bad", "Namespaced", &json!([version("v1", &json!({"type": "object"}))]));
    protected["metadata"]["name"] = json!("bads.x.k8s.io");
    let path = "spec.versions[0].schema.openAPIV3Schema";
    for (crd, want) in [
        (schema(json!({"type": "string"})), format!("{path}.type: Invalid value: \"string\": must be object at the root")),
        (in_spec(json!({})), format!("{path}.properties[spec].type: Required value: must not be empty for specified object fields")),
        (in_spec(json!({"type": "array"})), format!("{path}.properties[spec].items: Required value: must be specified")),
        (in_spec(json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]})),
            format!("{path}.properties[spec].anyOf[0].properties[a].type: Forbidden: must be empty to be structural")),
        (in_spec(json!({"type": "integer", "default": "x"})), format!("{path}.properties[spec].default: Invalid value")),
        (in_spec(json!({"type": "object", "default": {"b": 1}, "properties": {"a": {"type": "string"}}})),
            format!("{path}.properties[spec].default: Invalid value: {{\"b\":1}}: must not have unknown fields")),
        (in_spec(json!({"type": "string", "pattern": "(a{1000}){1000}"})),
            format!("{path}.properties[spec].pattern: Invalid value: \"(a{{1000}}){{1000}}\": must be a valid regular expression, but isn't")),
        (in_spec(json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}}}})),
            format!("{path}.properties[spec].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys")),
        (in_spec(json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}})),
            format!("{path}.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true")),
        (schema(json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}})),
            format!("{path}.properties[metadata]: Forbidden: must not specify anything other than name and generateName")),
        (two_stored, "spec.versions: Invalid value: ".to_owned()),
        (misnamed, "metadata.name: Invalid value: \"other.bad.example.com\": must be spec.names.plural+\".\"+spec.group".to_owned()),
        (protected, "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation".to_owned()),
    ] {
        let answer = client.post(CRDS, &crd).await.expect(422);
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(&want), "wanted {want}\ngot {message}");
        assert_eq!(answer["reason"], "Invalid");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_established_keeps_its_scope_and_kind() {
    let server = TestServer::start().await;
    let client = server.admin();
    let crd = install(&client, &service_monitor()).await;
    let mut changed = crd.clone();
    changed["spec"]["scope"] = json!("Cluster");
    changed["spec"]["names"]["kind"] = json!("Other");
    let message = client.put(&format!("{CRDS}/servicemonitors.mon.example.com"), &changed).await.expect(422)
        ["message"]
        .to_string();
    assert!(message.contains("spec.scope: Invalid value: \\\"Cluster\\\": field is immutable"), "{message}");
    assert!(
        message.contains("spec.names.kind: Invalid value: \\\"Other\\\": field is immutable"),
        "{message}"
    );
    install(&client, &fleet()).await;
    server.stop().await;
}
