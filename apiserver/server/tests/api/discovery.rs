//! Discovery, version, health, metrics, OpenAPI.

use serde_json::{Value, json};

use crate::server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_aggregated_discovery_agree() {
    let server = TestServer::start().await;
    let client = server.admin();
    assert_eq!(client.get("/api").await.expect(200)["versions"], json!(["v1"]));
    let groups = client.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().unwrap().iter().any(|g| g["name"] == "apps"));
    let apps = client.get("/apis/apps/v1").await.expect(200);
    let resources = apps["resources"].as_array().unwrap();
    let deployment = resources.iter().find(|r| r["name"] == "deployments").unwrap();
    assert_eq!((&deployment["kind"], &deployment["shortNames"]), (&json!("Deployment"), &json!(["deploy"])));
    assert_eq!(deployment["storageVersionHash"], "8aSe+NMegvE=");
    assert!(resources.iter().any(|r| r["name"] == "deployments/scale" && r["kind"] == "Scale"));

    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = client.get_as("/apis", accept).await;
    assert!(answer.header("content-type").contains("v=v2;as=APIGroupDiscoveryList"));
    let aggregated = answer.json();
    let group = aggregated["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["metadata"]["name"] == "apps")
        .unwrap()
        .clone();
    let found = group["versions"][0]["resources"].as_array().unwrap().iter().any(|r: &Value| {
        r["resource"] == "deployments"
            && r["subresources"].as_array().unwrap().iter().any(|s| s["subresource"] == "scale")
    });
    assert!(found);
    let etag = answer.header("etag").to_owned();
    let again =
        client.call(http::Method::GET, "/apis", &[("accept", accept), ("if-none-match", &etag)], "").await;
    assert_eq!(again.code, 304);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_health_and_metrics_answer() {
    let server = TestServer::start().await;
    let client = server.admin();
    let version = client.get("/version").await.expect(200);
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.37.0+mainstay"));
    for path in ["/livez", "/readyz", "/healthz", "/livez/ping", "/readyz/etcd"] {
        let answer = client.get(path).await;
        assert_eq!((answer.code, &answer.bytes[..]), (200, &b"ok"[..]), "{path}");
    }
    let verbose = String::from_utf8(client.get("/readyz?verbose").await.bytes.to_vec()).unwrap();
    assert!(verbose.starts_with("[+]ping ok\n") && verbose.ends_with("readyz check passed\n"), "{verbose}");
    assert_eq!(client.get("/livez/nothing").await.code, 404);
    client.get("/api/v1/namespaces").await.expect(200);
    let metrics = String::from_utf8(client.get("/metrics").await.bytes.to_vec()).unwrap();
    let line = metrics.lines().find(|l| {
        l.starts_with("apiserver_request_total{")
            && l.contains("resource=\"namespaces\"")
            && l.contains("verb=\"LIST\"")
    });
    assert!(line.is_some_and(|l| l.contains("code=\"200\"")), "{metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_callers_never_become_labels() {
    let server = TestServer::start().await;
    let admin = server.admin();
    for path in [
        "/apis/made.up/v1/things?watch=1",
        "/api/v7/namespaces/default/pods/p/exec",
        "/api/v1/namespaces/default/pods/p/made-up",
        "/api/v1/watch/namespaces/default/pods/p/made-up",
    ] {
        assert_eq!(admin.get(path).await.code, 404, "{path}");
    }
    let metrics = String::from_utf8(admin.get("/metrics").await.bytes.to_vec()).unwrap();
    assert!(!metrics.contains("made") && !metrics.contains("v7"), "{metrics}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_ids_are_kept_or_made() {
    let server = TestServer::start().await;
    let client = server.admin();
    assert_eq!(client.get("/version").await.header("audit-id").len(), 36);
    let own = client.call(http::Method::GET, "/version", &[("audit-id", "mine")], "").await;
    assert_eq!(own.header("audit-id"), "mine");
    server.stop().await;
}
