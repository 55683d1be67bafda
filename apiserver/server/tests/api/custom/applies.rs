//! Server-side apply of custom resources: owners by field and by item, as the definition's schema says.

use http::Method;
use serde_json::{Value, json};

use super::{definition, install, version};
use crate::client::{Answer, Client};
use crate::server::TestServer;

const POOLS: &str = "/apis/apply.example.com/v1/namespaces/default/pools";

async fn apply(client: &Client, manager: &str, spec: &Value) -> Answer {
    let object = json!({"apiVersion": "apply.example.com/v1", "kind": "Pool", "metadata": {"name": "p"}, "spec": spec});
    let headers = [("content-type", "application/apply-patch+yaml")];
    client
        .call(Method::PATCH, &format!("{POOLS}/p?fieldManager={manager}"), &headers, object.to_string())
        .await
}

#[tokio::test]
async fn appliers_own_items_of_keyed_lists() {
    let server = TestServer::start().await;
    let client = server.admin();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "mode": {"type": "string"},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}}}});
    install(
        &client,
        &definition("apply.example.com", "Pool", "Namespaced", &json!([version("v1", &schema)])),
    )
    .await;
    apply(&client, "a", &json!({"ports": [{"name": "http", "port": 80}], "tags": ["x"]})).await.expect(201);
    let both = apply(&client, "b", &json!({"ports": [{"name": "https", "port": 443}], "tags": ["y"]}))
        .await
        .expect(200);
    let want = json!([{"name": "http", "port": 80}, {"name": "https", "port": 443}]);
    assert_eq!((&both["spec"]["ports"], &both["spec"]["tags"]), (&want, &json!(["x", "y"])));
    let conflict = apply(&client, "b", &json!({"ports": [{"name": "http", "port": 81}]})).await.expect(409);
    assert!(conflict["message"].as_str().unwrap().contains(".spec.ports[name=\"http\"].port"), "{conflict}");
    let without = apply(&client, "a", &json!({"mode": "fast"})).await.expect(200);
    assert_eq!(
        (&without["spec"]["ports"], &without["spec"]["tags"]),
        (&json!([{"name": "https", "port": 443}]), &json!(["y"]))
    );
    server.stop().await;
}
