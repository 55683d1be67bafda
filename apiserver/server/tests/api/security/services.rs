//! Addresses and ports of Services.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::{Value, json};

use super::until;
use crate::client::{Answer, Client};
use crate::server::TestServer;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: &Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        service["spec"][key] = value.clone();
    }
    service
}

async fn create(admin: &Client, name: &str, spec: Value) -> Answer {
    admin.post(SERVICES, &service(name, &spec)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_services_never_share_an_address_or_port() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let creates = (0..40).map(|n| {
        let admin = admin.clone();
        async move { create(&admin, &format!("s{n}"), json!({"type": "NodePort"})).await.expect(201) }
    });
    let made = join_all(creates).await;
    let addresses: HashSet<_> = made.iter().map(|service| service["spec"]["clusterIP"].to_string()).collect();
    let ports: HashSet<_> =
        made.iter().map(|service| service["spec"]["ports"][0]["nodePort"].to_string()).collect();
    assert_eq!((addresses.len(), ports.len()), (40, 40));
    assert_eq!(made[0]["spec"]["clusterIPs"][0], made[0]["spec"]["clusterIP"]);
    assert_eq!(made[0]["spec"]["ipFamilies"], json!(["IPv4"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chosen_address_is_taken_once_and_freed_by_deletion() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let chosen = || json!({"clusterIP": "10.96.0.10"});
    create(&admin, "dns", chosen()).await.expect(201);
    let taken = create(&admin, "other", chosen()).await.expect(422);
    assert_eq!(
        taken["message"],
        r#"Service "other" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated"#
    );
    let outside = create(&admin, "other", json!({"clusterIP": "10.1.2.3"})).await.expect(422);
    assert!(
        outside["message"].as_str().unwrap().contains("The range of valid IPs is 10.96.0.0/16"),
        "{outside}"
    );
    admin.delete(&format!("{SERVICES}/dns")).await.expect(200);
    create(&admin, "other", chosen()).await.expect(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_ports_come_and_go_with_the_type() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let spec = |port: i64| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    create(&admin, "web", spec(30080)).await.expect(201);
    let taken = create(&admin, "other", spec(30080)).await.expect(422);
    assert!(
        taken["message"]
            .as_str()
            .unwrap()
            .ends_with("spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"),
        "{taken}"
    );
    assert_eq!(create(&admin, "other", spec(80)).await.code, 422);
    let patched = admin
        .patch(&format!("{SERVICES}/web"), "merge", &json!({"spec": {"type": "ClusterIP"}}))
        .await
        .expect(200);
    assert!(patched["spec"]["ports"][0]["nodePort"].is_null(), "{patched}");
    create(&admin, "other", spec(30080)).await.expect(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_create_and_a_dry_run_keep_nothing() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let body = service("dry", &json!({"clusterIP": "10.96.0.77"}));
    admin.post(&format!("{SERVICES}?dryRun=All"), &body).await.expect(201);
    let broken = json!({"clusterIP": "10.96.0.77", "ports": [{"port": 0}]});
    assert_eq!(create(&admin, "broken", broken).await.code, 422);
    create(&admin, "real", json!({"clusterIP": "10.96.0.77"})).await.expect(201);
    let headless = create(&admin, "headless", json!({"clusterIP": "None"})).await.expect(201);
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubernetes_service_comes_back() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let path = format!("{SERVICES}/kubernetes");
    let before = admin.get(&path).await.expect(200);
    admin.delete(&path).await.expect(200);
    let after = until(200, || admin.get(&path)).await.json();
    assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(after["spec"]["clusterIP"], "10.96.0.1");
    server.stop().await;
}
