//! One resource in several versions, converted by changing its `apiVersion` only.

use serde_json::json;

use super::{CRDS, definition, install, wait_for};
use crate::server::TestServer;

#[tokio::test]
async fn every_served_version_shows_the_same_objects_by_its_own_schema() {
    let server = TestServer::start().await;
    let client = server.admin();
    let schema = |properties: serde_json::Value| json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}});
    let crd = definition(
        "multi.example.com",
        "Widget",
        "Namespaced",
        &json!([
        {"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
            "schema": schema(json!({"old": {"type": "string", "default": "o"}, "both": {"type": "string"}}))},
        {"name": "v1", "served": true, "storage": true,
            "schema": schema(json!({"new": {"type": "string", "default": "n"}, "both": {"type": "string"}}))},
        {"name": "v0", "served": false, "storage": false, "schema": schema(json!({}))}]),
    );
    let mut crd = install(&client, &crd).await;
    let path = |version: &str| format!("/apis/multi.example.com/{version}/namespaces/default/widgets");
    let group = client.get("/apis/multi.example.com").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(client.get(&path("v0")).await.code, 404);
    let widget = json!({"apiVersion": "multi.example.com/v1beta1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"both": "x", "old": "mine"}});
    let made = client.post(&path("v1beta1"), &widget).await;
    assert_eq!(made.header("warning"), "299 - \"multi.example.com/v1beta1 Widget is deprecated\"");
    assert_eq!(made.expect(201)["apiVersion"], "multi.example.com/v1beta1");
    let v1 = client.get(&format!("{}/w", path("v1"))).await.expect(200);
    assert_eq!(
        (&v1["apiVersion"], &v1["spec"]),
        (&json!("multi.example.com/v1"), &json!({"both": "x", "new": "n"}))
    );
    let list = client.get(&path("v1beta1")).await.expect(200);
    assert_eq!(list["items"][0]["spec"], json!({"both": "x", "old": "o"}));
    let wrong = client.post(&path("v1"), &widget).await.expect(400);
    assert_eq!(
        wrong["message"],
        "the API version in the data (multi.example.com/v1beta1) does not match the expected API version (multi.example.com/v1)"
    );

    // The stored version moves on; what is stored in the old one is still there.
    for (at, stored) in [(0, true), (1, false)] {
        crd["spec"]["versions"][at]["storage"] = json!(stored);
    }
    client.put(&format!("{CRDS}/widgets.multi.example.com"), &crd).await.expect(200);
    let moved = wait_for(&client, "widgets.multi.example.com", "Established", "True").await;
    assert_eq!(moved["status"]["storedVersions"], json!(["v1", "v1beta1"]));
    client.post(&path("v1"), &json!({"apiVersion": "multi.example.com/v1", "kind": "Widget", "metadata": {"name": "x"}, "spec": {"new": "z"}})).await.expect(201);
    let names: Vec<String> = client.get(&path("v1")).await.expect(200)["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            format!("{} {}", item["apiVersion"].as_str().unwrap(), item["metadata"]["name"].as_str().unwrap())
        })
        .collect();
    assert_eq!(names, ["multi.example.com/v1 w", "multi.example.com/v1 x"]);
    server.stop().await;
}
