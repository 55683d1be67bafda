//! Create, get, update, patch, delete; options of writes; subresources.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, config_map};
use crate::server::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(name: &str, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

async fn created(client: &Client, path: &str, object: &Value) -> Value {
    client.post(path, object).await.expect(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_from_create_to_delete() {
    let server = TestServer::start().await;
    let client = server.admin();
    let one = created(&client, MAPS, &config_map("one", &json!({"a": "b"}), &json!({"k": "v"}))).await;
    assert_eq!(one["metadata"]["namespace"], "default");
    assert_eq!(one["metadata"]["uid"].as_str().unwrap().len(), 36);
    let read = client.get(&format!("{MAPS}/one")).await.expect(200);
    assert_eq!(read, one, "a read shows what the create answered");

    let mut changed = read.clone();
    changed["data"]["k"] = json!("w");
    let updated = client.put(&format!("{MAPS}/one"), &changed).await.expect(200);
    assert_ne!(updated["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"]);
    let stale = client.put(&format!("{MAPS}/one"), &changed).await;
    assert_eq!((stale.code, stale.reason().as_str()), (409, "Conflict"));

    let gone = client.delete(&format!("{MAPS}/one")).await.expect(200);
    assert_eq!((&gone["status"], &gone["details"]["uid"]), (&json!("Success"), &one["metadata"]["uid"]));
    let missing = client.get(&format!("{MAPS}/one")).await;
    assert_eq!(missing.code, 404);
    assert_eq!(missing.json()["message"], "configmaps \"one\" not found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_update_keeps_the_resource_version() {
    let server = TestServer::start().await;
    let client = server.admin();
    let one = created(&client, MAPS, &config_map("one", &json!({}), &json!({"k": "v"}))).await;
    let again = client.put(&format!("{MAPS}/one"), &one).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], one["metadata"]["resourceVersion"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_names_differ() {
    let server = TestServer::start().await;
    let client = server.admin();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "gen-"}});
    let one = created(&client, MAPS, &object).await;
    let two = created(&client, MAPS, &object).await;
    let name = |v: &Value| v["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&one).starts_with("gen-") && name(&one).len() == 9, "{}", name(&one));
    assert_ne!(name(&one), name(&two));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_stores_nothing() {
    let server = TestServer::start().await;
    let client = server.admin();
    let map = config_map("dry", &json!({}), &json!({}));
    let answer = client.post(&format!("{MAPS}?dryRun=All"), &map).await.expect(201);
    assert_eq!(answer["metadata"]["resourceVersion"], Value::Null);
    assert_eq!(client.get(&format!("{MAPS}/dry")).await.code, 404);
    created(&client, MAPS, &map).await;
    assert_eq!(client.post(&format!("{MAPS}?dryRun=All"), &map).await.code, 409);
    assert_eq!(client.delete(&format!("{MAPS}/dry?dryRun=All")).await.code, 200);
    let patch = json!({"data": {"k": "v"}});
    let patched = client.patch(&format!("{MAPS}/dry?dryRun=All"), "merge", &patch).await.expect(200);
    assert_eq!(patched["data"]["k"], "v");
    assert_eq!(client.get(&format!("{MAPS}/dry")).await.expect(200)["data"], Value::Null);
    assert_eq!(client.post(&format!("{MAPS}?dryRun=Some"), &map).await.code, 422);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_of_every_kind_change_an_object() {
    let server = TestServer::start().await;
    let client = server.admin();
    created(&client, DEPLOYMENTS, &deployment("web", 1)).await;
    let path = format!("{DEPLOYMENTS}/web");
    let merged = client.patch(&path, "merge", &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    assert_eq!(merged["metadata"]["labels"]["a"], "b");
    let strategic = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}, {"name": "d", "image": "k"}]}}}});
    let merged = client.patch(&path, "strategic-merge", &strategic).await.expect(200);
    let images: Vec<_> = merged["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["image"].clone())
        .collect();
    assert_eq!(images.len(), 2);
    assert!(images.contains(&json!("j")) && images.contains(&json!("k")));
    assert_eq!(merged["metadata"]["generation"], 2);
    let operations = json!([{"op": "test", "path": "/spec/replicas", "value": 1}, {"op": "replace", "path": "/spec/replicas", "value": 3}]);
    assert_eq!(client.patch(&path, "json", &operations).await.expect(200)["spec"]["replicas"], 3);
    let failed = client.patch(&path, "json", &operations).await;
    assert_eq!(failed.code, 422, "the test operation fails now");
    let unknown = client.call(Method::PATCH, &path, &[("content-type", "application/x-patch")], "{}").await;
    assert_eq!((unknown.code, unknown.reason().as_str()), (415, "UnsupportedMediaType"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_scale_are_views_of_their_own() {
    let server = TestServer::start().await;
    let client = server.admin();
    created(&client, DEPLOYMENTS, &deployment("web", 1)).await;
    let path = format!("{DEPLOYMENTS}/web");
    let scale = client.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    assert_eq!(scale["status"]["selector"], "app=web");
    let scaled =
        client.patch(&format!("{path}/scale"), "merge", &json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    let late = client.put(&format!("{path}/scale"), &scale).await;
    assert_eq!(late.code, 409, "the scale's resource version is a precondition");
    let negative = client.patch(&format!("{path}/scale"), "merge", &json!({"spec": {"replicas": -1}})).await;
    assert_eq!(negative.code, 422);

    let status = json!({"status": {"replicas": 4}, "spec": {"replicas": 9}});
    let answer = client.patch(&format!("{path}/status"), "merge", &status).await.expect(200);
    assert_eq!((&answer["status"]["replicas"], &answer["spec"]["replicas"]), (&json!(4), &json!(5)));
    let plain = client.patch(&path, "merge", &json!({"status": {"replicas": 7}})).await.expect(200);
    assert_eq!(plain["status"]["replicas"], 4, "a plain patch leaves the status alone");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_hold_a_deleted_object() {
    let server = TestServer::start().await;
    let client = server.admin();
    let mut map = config_map("held", &json!({}), &json!({}));
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    created(&client, MAPS, &map).await;
    let path = format!("{MAPS}/held");
    let marked = client.delete(&path).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    assert_eq!(client.get(&path).await.code, 200);
    let released = client.patch(&path, "merge", &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(released.code, 200);
    assert_eq!(client.get(&path).await.code, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_preconditions_are_checked() {
    let server = TestServer::start().await;
    let client = server.admin();
    created(&client, MAPS, &config_map("one", &json!({}), &json!({}))).await;
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}});
    let headers = [("content-type", "application/json")];
    let answer = client.call(Method::DELETE, &format!("{MAPS}/one"), &headers, options.to_string()).await;
    assert_eq!((answer.code, answer.reason().as_str()), (409, "Conflict"));
    assert_eq!(client.get(&format!("{MAPS}/one")).await.code, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_deleted_by_selector() {
    let server = TestServer::start().await;
    let client = server.admin();
    for at in 0..10 {
        let label = if at % 2 == 0 { "even" } else { "odd" };
        created(&client, MAPS, &config_map(&format!("m{at}"), &json!({"parity": label}), &json!({}))).await;
    }
    let deleted = client.delete(&format!("{MAPS}?labelSelector=parity%3Deven")).await.expect(200);
    assert_eq!(deleted["items"].as_array().unwrap().len(), 5);
    let left = client.get(&format!("{MAPS}?labelSelector=parity")).await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 5);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_patches_all_take_effect() {
    let server = TestServer::start().await;
    let client = server.admin();
    created(&client, MAPS, &config_map("busy", &json!({}), &json!({}))).await;
    let patches = (0..16).map(|at| {
        let client = client.clone();
        async move {
            let key = format!("k{at}");
            client.patch(&format!("{MAPS}/busy"), "merge", &json!({"data": {key: "v"}})).await.expect(200)
        }
    });
    futures::future::join_all(patches).await;
    let data = client.get(&format!("{MAPS}/busy")).await.expect(200)["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 16);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_watches_and_tasks() {
    let server = TestServer::start().await;
    let mut watch =
        server.admin().watch(&format!("{MAPS}?watch=1&resourceVersion=0"), "application/json").await;
    let ended = async { while watch.next().await.is_some() {} };
    let ((), ()) = tokio::join!(server.stop(), ended);
}
