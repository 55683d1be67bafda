//! Objects of custom kinds: pruning, defaults, checks, subresources, tables, selectors, patches, formats.

use serde_json::{Value, json};

use super::install;
use super::shapes::{certificate, fleet, service_monitor};
use crate::server::TestServer;

const CERTS: &str = "/apis/certs.example.com/v1/namespaces/default/certificates";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

fn cert(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "certs.example.com/v1", "kind": "Certificate", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn objects_are_pruned_defaulted_and_checked() {
    let server = TestServer::start().await;
    let client = server.admin();
    install(&client, &certificate()).await;
    let sent = cert(
        "web",
        &json!({"secretName": "s", "issuerRef": {"name": "ca", "extra": 1}, "bogus": true, "isCA": null}),
    );
    let answer = client.post(CERTS, &sent).await;
    let warnings: Vec<String> =
        answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    assert_eq!(
        warnings,
        [
            "299 - \"unknown field \\\"spec.bogus\\\"\"",
            "299 - \"unknown field \\\"spec.issuerRef.extra\\\"\""
        ]
    );
    let stored = answer.expect(201);
    let want = json!({"secretName": "s", "issuerRef": {"name": "ca", "kind": "Issuer"}, "revisionHistoryLimit": 1,
        "privateKey": {"algorithm": "RSA", "size": 2048}});
    assert_eq!(stored["spec"], want);
    assert_eq!(stored["metadata"]["generation"], 1);
    assert_eq!(client.get(&format!("{CERTS}/web")).await.expect(200), stored);

    let strict =
        client.post(&format!("{CERTS}?fieldValidation=Strict"), &cert("x", &sent["spec"])).await.expect(400);
    assert_eq!(
        strict["message"],
        "Certificate in version \"v1\" cannot be handled as a Certificate: strict decoding error: unknown field \
         \"spec.bogus\", unknown field \"spec.issuerRef.extra\""
    );
    for (spec, want) in [
        (json!({"secretName": "s"}), "spec.issuerRef: Required value"),
        (
            json!({"secretName": "", "issuerRef": {"name": "a"}}),
            "spec.secretName: Invalid value: \"\": spec.secretName in body should be at least 1 chars long",
        ),
        (
            json!({"secretName": "s", "issuerRef": {"name": "a"}, "isCA": "yes"}),
            "spec.isCA: Invalid value: \"string\": spec.isCA in body must be of type boolean: \"string\"",
        ),
        (
            json!({"secretName": "s", "issuerRef": {"name": "a"}, "privateKey": {"algorithm": "DSA"}}),
            "spec.privateKey.algorithm: Unsupported value: \"DSA\": supported values: \"RSA\", \"ECDSA\", \"Ed25519\"",
        ),
        (
            json!({"secretName": "s", "issuerRef": {"name": "a"}, "usages": ["signing", "signing"]}),
            "spec.usages[1]: Duplicate value: \"signing\"",
        ),
        (
            json!({"secretName": "s", "issuerRef": {"name": "a"}, "revisionHistoryLimit": 0}),
            "spec.revisionHistoryLimit: Invalid value: 0: spec.revisionHistoryLimit in body should be greater than or equal to 1",
        ),
    ] {
        let answer = client.post(CERTS, &cert("bad", &spec)).await.expect(422);
        assert_eq!(answer["message"], format!("Certificate.certs.example.com \"bad\" is invalid: {want}"));
    }
    server.stop().await;
}

#[tokio::test]
async fn status_is_a_world_of_its_own() {
    let server = TestServer::start().await;
    let client = server.admin();
    install(&client, &certificate()).await;
    let mut sent = cert("web", &json!({"secretName": "s", "issuerRef": {"name": "ca"}}));
    sent["status"] = json!({"revision": 7});
    let stored = client.post(CERTS, &sent).await.expect(201);
    assert_eq!(stored.get("status"), None);
    let path = format!("{CERTS}/web/status");
    let change = json!({"spec": {"secretName": "other"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let patched = client.patch(&path, "merge", &change).await.expect(200);
    assert_eq!(patched["spec"]["secretName"], "s");
    assert_eq!(patched["metadata"]["generation"], 1);
    let twice = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Ready", "status": "False"}]}});
    let refused = client.patch(&path, "merge", &twice).await.expect(422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .ends_with("status.conditions[1]: Duplicate value: {\"type\":\"Ready\"}"),
        "{refused}"
    );
    let changed = client
        .patch(&format!("{CERTS}/web"), "merge", &json!({"spec": {"secretName": "t"}, "status": null}))
        .await
        .expect(200);
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(changed["status"]["conditions"][0]["status"], "True");
    let table = client.get_as(CERTS, TABLE).await.expect(200);
    let headings: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(headings, ["Name", "Ready", "Secret", "Issuer", "Age"]);
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..4],
        [json!("web"), json!("True"), json!("t"), json!("ca")]
    );
    server.stop().await;
}

#[tokio::test]
async fn fields_select_and_watches_follow() {
    let server = TestServer::start().await;
    let client = server.admin();
    install(&client, &certificate()).await;
    let mut watch = client
        .watch(&format!("{CERTS}?watch=1&fieldSelector=spec.issuerRef.name%3Db"), "application/json")
        .await;
    for (name, issuer) in [("one", "a"), ("two", "b")] {
        client
            .post(CERTS, &cert(name, &json!({"secretName": "s", "issuerRef": {"name": issuer}})))
            .await
            .expect(201);
    }
    assert_eq!(watch.event().await, "ADDED two");
    let list = client.get(&format!("{CERTS}?fieldSelector=spec.issuerRef.name%3Da")).await.expect(200);
    assert_eq!(list["kind"], "CertificateList");
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(client.get(&format!("{CERTS}?fieldSelector=spec.secretName%3Ds")).await.code, 400);
    client
        .patch(&format!("{CERTS}/two"), "merge", &json!({"spec": {"issuerRef": {"name": "a"}}}))
        .await
        .expect(200);
    assert_eq!(watch.event().await, "DELETED two");
    let page = client.get(&format!("{CERTS}?limit=1")).await.expect(200);
    assert!(page["metadata"]["continue"].as_str().is_some_and(|token| !token.is_empty()));
    server.stop().await;
}

#[tokio::test]
async fn patches_and_formats_are_those_that_custom_resources_have() {
    let server = TestServer::start().await;
    let client = server.admin();
    install(&client, &service_monitor()).await;
    let monitors = "/apis/mon.example.com/v1/namespaces/default/servicemonitors";
    let yaml = "apiVersion: mon.example.com/v1\nkind: ServiceMonitor\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  endpoints:\n  - {targetPort: 8080, interval: 30s, tlsConfig: {anything: {goes: [1, 2.5]}}}\n";
    let headers = [("content-type", "application/yaml")];
    let stored = client.call(http::Method::POST, monitors, &headers, yaml).await.expect(201);
    assert_eq!(stored["spec"]["endpoints"][0]["tlsConfig"]["anything"]["goes"], json!([1, 2.5]));
    let object = format!("{monitors}/web");
    assert_eq!(client.patch(&object, "strategic-merge", &json!({"spec": {}})).await.code, 415);
    let patch = json!([{"op": "replace", "path": "/spec/endpoints/0/targetPort", "value": "http"}]);
    assert_eq!(
        client.patch(&object, "json", &patch).await.expect(200)["spec"]["endpoints"][0]["targetPort"],
        "http"
    );
    let wrong = json!([{"op": "replace", "path": "/spec/endpoints/0/targetPort", "value": true}]);
    assert_eq!(client.patch(&object, "json", &wrong).await.code, 422);
    let protobuf = "application/vnd.kubernetes.protobuf";
    assert_eq!(client.get_as(&object, protobuf).await.code, 406);
    client.get_as(&object, &format!("{protobuf},application/json")).await.expect(200);
    let metadata =
        client.get_as(&object, &format!("{protobuf};as=PartialObjectMetadata;g=meta.k8s.io;v=v1")).await;
    assert_eq!((metadata.code, metadata.header("content-type")), (200, protobuf));
    let metadata = client
        .get_as(monitors, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
        .await
        .expect(200);
    assert_eq!(metadata["items"][0]["metadata"]["name"], "web");
    assert_eq!(metadata["items"][0].get("spec"), None);
    let mut unversioned = client.get(&object).await.expect(200);
    unversioned["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let refused = client.put(&object, &unversioned).await.expect(422);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("metadata.resourceVersion: Invalid value: 0: must be specified for an update")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_scale_shows_and_sets_replicas() {
    let server = TestServer::start().await;
    let client = server.admin();
    install(&client, &fleet()).await;
    let fleets = "/apis/scale.example.com/v1/fleets";
    let fleet = json!({"apiVersion": "scale.example.com/v1", "kind": "Fleet", "metadata": {"name": "f"}, "spec": {"replicas": 2}});
    client.post(fleets, &fleet).await.expect(201);
    let status = json!({"status": {"replicas": 1, "selector": "app=f"}});
    client.patch(&format!("{fleets}/f/status"), "merge", &status).await.expect(200);
    let path = format!("{fleets}/f/scale");
    let scale = client.get(&path).await.expect(200);
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 1, "selector": "app=f"}))
    );
    let scaled = client.patch(&path, "merge", &json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    assert_eq!(client.get(&format!("{fleets}/f")).await.expect(200)["spec"]["replicas"], 5);
    assert_eq!(client.patch(&path, "merge", &json!({"spec": {"replicas": 11}})).await.code, 422);
    server.stop().await;
}

#[tokio::test]
async fn roles_grant_custom_resources_by_name() {
    let server = TestServer::start().await;
    let client = server.admin();
    install(&client, &certificate()).await;
    let reader = server.user("reader", &[]);
    assert_eq!(reader.get(CERTS).await.code, 403);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "certs"},
        "rules": [{"apiGroups": ["certs.example.com"], "resources": ["certificates"], "verbs": ["get", "list"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "certs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "certs"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}]});
    client.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    client.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    let mut code = 0;
    for _attempt in 0..200 {
        code = reader.get(CERTS).await.code;
        if code == 200 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(code, 200);
    assert_eq!(reader.post(CERTS, &cert("x", &json!({}))).await.code, 403);
    server.stop().await;
}
