//! A definition takes its objects along, whatever happens meanwhile.

use serde_json::json;

use super::shapes::service_monitor;
use super::{CRDS, definition, install, version, wait_for};
use crate::client::Client;
use crate::server::TestServer;

/// Each test has a group of its own: what stands behind a definition is shared in a process.
const HELD: &str = "held.example.com";
const GONE: &str = "gone.example.com";

fn things(group: &str) -> String {
    format!("/apis/{group}/v1/things")
}

async fn install_things(client: &Client, group: &str) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    install(client, &definition(group, "Thing", "Cluster", &json!([version("v1", &schema)]))).await;
}

fn thing(group: &str, name: &str) -> serde_json::Value {
    json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": name}})
}

/// Waits until the definition is gone.
async fn gone(client: &Client, name: &str) {
    let path = format!("{CRDS}?watch=1&fieldSelector=metadata.name%3D{name}");
    let mut watch = client.watch(&path, "application/json").await;
    if client.get(&format!("{CRDS}/{name}")).await.code == 404 {
        return;
    }
    while watch.event().await != format!("DELETED {name}") {}
}

#[tokio::test]
async fn objects_go_before_their_definition() {
    let server = TestServer::start().await;
    let client = server.admin();
    let things = things(HELD);
    install_things(&client, HELD).await;
    client.post(&things, &thing(HELD, "plain")).await.expect(201);
    let mut held = thing(HELD, "held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    client.post(&things, &held).await.expect(201);
    let marked = client.delete(&format!("{CRDS}/things.held.example.com")).await.expect(200);
    assert_eq!(marked["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    wait_for(&client, "things.held.example.com", "Terminating", "True").await;
    let mut left = Vec::new();
    for _attempt in 0..200 {
        left = client.get(&things).await.expect(200)["items"].as_array().unwrap().clone();
        if left.len() == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(left.len(), 1);
    assert!(left[0]["metadata"]["deletionTimestamp"].is_string());
    let refused = client.post(&things, &thing(HELD, "late")).await.expect(405);
    assert_eq!(refused["message"], "create not allowed while custom resource definition is terminating");
    client
        .patch(&format!("{things}/held"), "merge", &json!({"metadata": {"finalizers": null}}))
        .await
        .expect(200);
    gone(&client, "things.held.example.com").await;
    assert_eq!(client.get(&format!("{CRDS}/things.held.example.com")).await.code, 404);
    server.stop().await;
}

#[tokio::test]
async fn a_definition_under_load_leaves_nothing_behind() {
    let server = TestServer::start().await;
    let client = server.admin();
    let things = things(GONE);
    install_things(&client, GONE).await;
    let mut watch = client.watch(&format!("{things}?watch=1"), "application/json").await;
    let creates = async {
        let mut made = 0;
        for number in 0..60 {
            let answer = client.post(&things, &thing(GONE, &format!("t{number}"))).await;
            match answer.code {
                201 => made += 1,
                404 | 405 => break,
                other => panic!("{other}: {answer:?}"),
            }
        }
        made
    };
    let delete = async {
        while watch.event().await != "ADDED t5" {}
        client.delete(&format!("{CRDS}/things.gone.example.com")).await.expect(200);
        gone(&client, "things.gone.example.com").await;
        // The watch ends with the resource.
        while watch.next().await.is_some() {}
    };
    let (made, ()) = tokio::join!(creates, delete);
    assert!(made > 5, "{made}");
    assert_eq!(client.get(&things).await.code, 404);
    install_things(&client, GONE).await;
    assert_eq!(client.get(&things).await.expect(200)["items"], json!([]));
    install(&client, &service_monitor()).await;
    server.stop().await;
}
