//! Field owners and server-side apply, seen from a client.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client, config_map};
use crate::server::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn apply(client: &Client, path: &str, manager: &str, config: &Value) -> Answer {
    let path = format!("{path}?fieldManager={manager}");
    patch_apply(client, &path, config).await
}

async fn patch_apply(client: &Client, path: &str, config: &Value) -> Answer {
    let headers = [("content-type", "application/apply-patch+yaml"), ("user-agent", "tester/1.0 (x)")];
    client.call(Method::PATCH, path, &headers, config.to_string()).await
}

fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": image}]}}}});
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = json!(replicas);
    }
    object
}

/// `manager operation subresource` of every owner.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("-").to_owned();
    entries
        .iter()
        .map(|e| format!("{} {} {}", text(e, "manager"), text(e, "operation"), text(e, "subresource")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_is_told_with_its_manager() {
    let server = TestServer::start().await;
    let client = server.admin();
    let headers = [("content-type", "application/json"), ("user-agent", "kubectl/v1.36 (linux/amd64)")];
    let body = deployment(Some(1), "i").to_string();
    let made = client.call(Method::POST, DEPLOYMENTS, &headers, body).await.expect(201);
    assert_eq!(owners(&made), ["kubectl Update -"]);
    let fields = &made["metadata"]["managedFields"][0];
    assert_eq!((&fields["apiVersion"], &fields["fieldsType"]), (&json!("apps/v1"), &json!("FieldsV1")));
    assert_eq!(
        fields["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"],
        json!({"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
            "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}})
    );
    assert_eq!(fields["fieldsV1"]["f:status"], Value::Null);

    let status = json!({"status": {"replicas": 1}, "spec": {"replicas": 9}});
    let path = format!("{DEPLOYMENTS}/web");
    let after =
        client.patch(&format!("{path}/status?fieldManager=controller"), "merge", &status).await.expect(200);
    let mut both = owners(&after);
    both.sort();
    assert_eq!(both, ["controller Update status", "kubectl Update -"]);
    let entries = after["metadata"]["managedFields"].as_array().unwrap();
    let controller = entries.iter().find(|entry| entry["subresource"] == "status").unwrap();
    assert_eq!(controller["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));

    let scale = json!({"spec": {"replicas": 4}});
    client.patch(&format!("{path}/scale?fieldManager=hpa"), "merge", &scale).await.expect(200);
    let read = client.get(&path).await.expect(200);
    assert_eq!(read["spec"]["replicas"], 4);
    let hpa =
        read["metadata"]["managedFields"].as_array().unwrap().iter().find(|e| e["manager"] == "hpa").unwrap();
    assert_eq!(
        (&hpa["subresource"], &hpa["fieldsV1"]),
        (&json!("scale"), &json!({"f:spec": {"f:replicas": {}}}))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_creates_changes_and_removes() {
    let server = TestServer::start().await;
    let client = server.admin();
    let path = format!("{DEPLOYMENTS}/web");
    let made = apply(&client, &path, "ci", &deployment(Some(2), "i:1")).await.expect(201);
    assert_eq!(owners(&made), ["ci Apply -"]);
    let again = apply(&client, &path, "ci", &deployment(Some(2), "i:1")).await.expect(200);
    assert_eq!(again, made, "an equal apply changes neither version nor times");

    let conflict = apply(&client, &path, "other", &deployment(Some(3), "i:2")).await.expect(409);
    assert_eq!(conflict["reason"], "Conflict");
    assert_eq!(
        conflict["message"],
        "Apply failed with 2 conflicts: conflicts with \"ci\":\n- .spec.replicas\n- .spec.template.spec.containers[name=\"c\"].image"
    );
    assert_eq!(conflict["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let forced = format!("{path}?fieldManager=other&force=true");
    let taken = patch_apply(&client, &forced, &deployment(Some(3), "i:2")).await.expect(200);
    assert_eq!((taken["spec"]["replicas"].as_i64(), owners(&taken).len()), (Some(3), 2));

    apply(&client, &path, "other", &deployment(None, "i:2")).await.expect(200);
    let read = client.get(&path).await.expect(200);
    assert_eq!(read["spec"]["replicas"], 1, "unset, so the default is back");

    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "status": {"replicas": 7}});
    let after = apply(&client, &format!("{path}/status"), "ctl", &status).await.expect(200);
    assert_eq!(after["status"]["replicas"], 7);
    assert!(owners(&after).contains(&"ctl Apply status".to_owned()), "{:?}", owners(&after));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_can_be_applied() {
    let server = TestServer::start().await;
    let client = server.admin();
    let path = format!("{DEPLOYMENTS}/web");
    apply(&client, &path, "ci", &deployment(Some(2), "i")).await.expect(201);
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 5}});
    let refused = apply(&client, &format!("{path}/scale"), "hpa", &scale).await.expect(409);
    assert_eq!(refused["message"], "Apply failed with 1 conflict: conflict with \"ci\": .spec.replicas");
    let forced = format!("{path}/scale?fieldManager=hpa&force=true");
    let done = patch_apply(&client, &forced, &scale).await.expect(200);
    assert_eq!(done["spec"]["replicas"], 5);
    let read = client.get(&path).await.expect(200);
    let mut both = owners(&read);
    both.sort();
    assert_eq!(both, ["ci Apply -", "hpa Apply scale"]);
    let back = apply(&client, &path, "ci", &deployment(Some(2), "i")).await.expect(409);
    assert_eq!(
        back["message"],
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\": .spec.replicas"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_an_apply_are_checked() {
    let server = TestServer::start().await;
    let client = server.admin();
    let path = format!("{MAPS}/one");
    let config = config_map("one", &json!({}), &json!({"k": "v"}));
    let nameless = patch_apply(&client, &path, &config).await.expect(422);
    assert_eq!(
        nameless["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let force = client.patch(&format!("{path}?force=true"), "merge", &json!({})).await.expect(422);
    assert!(
        force["message"]
            .as_str()
            .unwrap()
            .contains("force: Forbidden: may not be specified for non-apply patch")
    );
    let long = format!("{path}?fieldManager={}", "x".repeat(129));
    assert_eq!(patch_apply(&client, &long, &config).await.code, 422);
    let cbor = [("content-type", "application/apply-patch+cbor")];
    let refused = client.call(Method::PATCH, &format!("{path}?fieldManager=a"), &cbor, "x").await.expect(415);
    assert!(refused["message"].as_str().unwrap().contains("application/apply-patch+yaml"), "{refused}");
    let dry = format!("{path}?fieldManager=a&dryRun=All");
    let shown = patch_apply(&client, &dry, &config).await.expect(201);
    assert_eq!(owners(&shown), ["a Apply -"]);
    assert_eq!(client.get(&path).await.code, 404, "a dry run stores nothing");
    let unknown = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "nope": 1});
    let refused = apply(&client, &path, "a", &unknown).await.expect(500);
    assert!(
        refused["message"].as_str().unwrap().ends_with(".nope: field not declared in schema"),
        "{refused}"
    );
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}});
    assert_eq!(
        apply(&client, &path, "a", &other).await.expect(400)["message"],
        "invalid object type: /v1, Kind=Secret"
    );
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: b}\ndata: {a: c}\n";
    let headers = [("content-type", "application/apply-patch+yaml")];
    let strict = format!("{path}?fieldManager=a&fieldValidation=Strict");
    let refused = client.call(Method::PATCH, &strict, &headers, twice).await.expect(400);
    assert!(refused["message"].as_str().unwrap().starts_with("error strict decoding patch: "), "{refused}");
    let warned = client.call(Method::PATCH, &format!("{path}?fieldManager=a"), &headers, twice).await;
    assert!(warned.code == 201 && !warned.header("warning").is_empty(), "{warned:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_owners_are_refused() {
    let server = TestServer::start().await;
    let client = server.admin();
    let mut object = config_map("one", &json!({}), &json!({"k": "v"}));
    let path = format!("{MAPS}/one");
    client.post(MAPS, &object).await.expect(201);
    let entry = |n: usize| {
        json!({"manager": format!("m{n}"), "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:k": {}}}})
    };
    object["metadata"]["managedFields"] = (0..10_000).map(entry).collect();
    let refused = client.put(&path, &object).await.expect(422);
    assert_eq!(refused["reason"], "Invalid");
    assert_eq!(
        apply(&client, &path, "a", &object).await.expect(400)["message"],
        "metadata.managedFields must be nil"
    );
    object["metadata"]["managedFields"] =
        json!([{"manager": "a", "operation": "Take", "fieldsV1": {"nonsense": []}}]);
    let refused = client.put(&path, &object).await;
    assert_eq!(refused.code, 200, "{refused:?}");
    assert_eq!(
        owners(&client.get(&path).await.expect(200)).len(),
        1,
        "nonsense leaves the owners as they were"
    );
    server.stop().await;
}
