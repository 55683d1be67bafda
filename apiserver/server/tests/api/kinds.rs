//! Behaviour of the server that only some kinds show: lifetimes, two faces of one object, deletion in phases.

use mainstay_store::LeaseId;
use serde_json::json;

use crate::server::TestServer;

const EVENTS: &str = "/api/v1/namespaces/default/events";

fn event(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web"}, "reason": "Started",
        "message": "started it", "type": "Normal", "source": {"component": "test"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_stored_under_a_lease_and_end_with_it() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(EVENTS, &event("e1")).await.expect(201);
    client.post(EVENTS, &event("e2")).await.expect(201);
    let kv = server.store.get("/registry/events/default/e1").await;
    assert_ne!(kv.lease, LeaseId::NONE);
    let (seconds, keys) = server.store.lease(kv.lease).await;
    assert_eq!(keys, 2, "events of one minute share a lease");
    assert!(seconds >= 3600, "{seconds}");
    let mut watch =
        client.watch(&format!("{EVENTS}?watch=1&fieldSelector=metadata.name%3De1"), "application/json").await;
    assert_eq!(watch.event().await, "ADDED e1");
    server.store.revoke(kv.lease).await;
    assert_eq!(watch.event().await, "DELETED e1");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_two_faces() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(EVENTS, &event("e1")).await.expect(201);
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let other = client.get(&format!("{path}/e1")).await.expect(200);
    assert_eq!((&other["apiVersion"], &other["note"]), (&json!("events.k8s.io/v1"), &json!("started it")));
    assert_eq!(other["regarding"]["name"], "web");
    let list = client.get(path).await.expect(200);
    assert_eq!(list["items"][0]["reason"], "Started");
    let mut watch = client.watch(&format!("{path}?watch=1"), "application/json").await;
    assert_eq!(watch.next().await.unwrap()["object"]["note"], "started it");
    let selected = client
        .get(&format!("{EVENTS}?fieldSelector=involvedObject.name%3Dweb,reason%3DStarted"))
        .await
        .expect(200);
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_goes_when_it_is_finalized() {
    let server = TestServer::start().await;
    let client = server.admin();
    let path = "/api/v1/namespaces/short";
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": "short"}})).await.expect(201);
    let marked = client.delete(path).await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    let mut object = client.get(path).await.expect(200);
    object["spec"]["finalizers"] = json!([]);
    client.put(&format!("{path}/finalize"), &object).await.expect(200);
    assert_eq!(client.get(path).await.code, 404);
    server.stop().await;
}
