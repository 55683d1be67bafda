//! What the port answers to plain HTTP: version, health, the JSON gateway.
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use serde_json::{Value, json};

use crate::rig::{Rig, bytes, http};

async fn gateway(rig: &Rig, path: &str, body: &Value) -> (u16, Value) {
    let (status, answer) = rig.http("POST", path, &body.to_string()).await;
    (status, serde_json::from_str(&answer).unwrap())
}

#[tokio::test]
async fn pages_have_etcds_form() {
    let rig = Rig::start().await;
    let (status, version) = rig.http("GET", "/version", "").await;
    let version: Value = serde_json::from_str(&version).unwrap();
    assert_eq!(status, 200);
    assert!(version["etcdserver"].as_str().unwrap().starts_with("3.6."));
    assert_eq!(version["etcdcluster"], "3.6.0");
    for path in ["/health", "/health?serializable=true", "/health?exclude=NOSPACE"] {
        assert_eq!(rig.http("GET", path, "").await, (200, r#"{"health":"true","reason":""}"#.into()));
    }
    assert_eq!(rig.http("GET", "/livez", "").await, (200, "ok\n".into()));
    let (status, verbose) = rig.http("GET", "/readyz?verbose&exclude=non_learner", "").await;
    assert_eq!(status, 200);
    assert_eq!(verbose, "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n");
    assert_eq!(rig.http("GET", "/livez/serializable_read", "").await.0, 200);
    rig.put("k", "v").await;
    let (status, metrics) = rig.http("GET", "/metrics", "").await;
    assert_eq!(status, 200);
    let put = r#"{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#;
    let lines = [
        format!("grpc_server_handled_total{put}"),
        "etcd_server_has_leader 1".to_owned(),
        "etcd_debugging_mvcc_current_revision 2".to_owned(),
    ];
    for line in lines {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    assert!(metrics.contains("process_resident_memory_bytes"));
    let (status, variables) = rig.http("GET", "/debug/vars", "").await;
    let variables: Value = serde_json::from_str(&variables).unwrap();
    assert_eq!((status, &variables["raft.status"]["raftState"]), (200, &json!("StateLeader")));
    assert!(variables["file_descriptor_limit"].as_u64().unwrap() > 0);
    assert_eq!(rig.http("POST", "/health", "").await.0, 405);
    assert_eq!(rig.http("GET", "/none", "").await.0, 404);
    rig.stop().await;
}

#[tokio::test]
async fn the_gateway_speaks_proto3_json() {
    let rig = Rig::start().await;
    let (status, put) = gateway(&rig, "/v3/kv/put", &json!({"key": "Zm9v", "value": "YmFy"})).await;
    assert_eq!((status, &put["header"]["revision"]), (200, &json!("2")));
    let (_, range) = gateway(&rig, "/v3/kv/range", &json!({"key": "Zm9v"})).await;
    assert_eq!((&range["kvs"][0]["value"], &range["count"]), (&json!("YmFy"), &json!("1")));
    let txn = json!({
        "compare": [{"key": "Zm9v", "target": "VERSION", "result": "EQUAL", "version": "1"}],
        "success": [{"requestPut": {"key": "Zm9v", "value": "YmF6"}}],
    });
    assert_eq!(gateway(&rig, "/v3/kv/txn", &txn).await.1["succeeded"], true);
    let (_, grant) = gateway(&rig, "/v3/lease/grant", &json!({"TTL": 60, "ID": "7"})).await;
    assert_eq!((&grant["ID"], &grant["TTL"]), (&json!("7"), &json!("60")));
    let (_, kept) = gateway(&rig, "/v3/lease/keepalive", &json!({"ID": 7})).await;
    assert_eq!(kept["result"]["TTL"], "60");
    let (_, status) = gateway(&rig, "/v3/maintenance/status", &json!({})).await;
    assert!(status["version"].as_str().unwrap().starts_with("3.6."));
    assert_eq!(gateway(&rig, "/v3/cluster/member/list", &json!({})).await.1["members"][0]["name"], "default");
    rig.stop().await;
}

#[tokio::test]
async fn the_gateway_refuses_as_grpc_gateway_does() {
    let rig = Rig::start().await;
    let (status, answer) = gateway(&rig, "/v3/kv/range", &json!({})).await;
    assert_eq!(status, 400);
    assert_eq!(answer, json!({"code": 3, "message": "etcdserver: key is not provided"}));
    assert_eq!(gateway(&rig, "/v3/kv/range", &json!({"key": 1})).await.0, 400);
    assert_eq!(gateway(&rig, "/v3/lease/revoke", &json!({"ID": 9})).await.0, 404);
    assert_eq!(rig.http("POST", "/v3/kv/range", "{").await.0, 400);
    assert_eq!(rig.http("GET", "/v3/kv/range", "").await.0, 405);
    assert_eq!(rig.http("POST", "/v3/none", "{}").await.0, 404);
    rig.stop().await;
}

#[tokio::test]
async fn a_listener_for_metrics_serves_nothing_else() {
    let rig = Rig::start().await;
    rig.put("k", "v").await;
    let port = rig.metrics_port;
    for path in ["/metrics", "/health", "/livez", "/readyz"] {
        assert_eq!(http(port, "GET", path, "").await.0, 200, "{path}");
    }
    let range = json!({"key": "aw=="}).to_string();
    for (method, path, body) in
        [("POST", "/v3/kv/range", range.as_str()), ("POST", "/v3/kv/put", "{}"), ("GET", "/version", "")]
    {
        assert_eq!(http(port, method, path, body).await, (404, "404 page not found\n".into()), "{path}");
    }
    let uri = format!("http://127.0.0.1:{port}").parse().unwrap();
    let channel = tonic::transport::Channel::builder(uri).connect().await.unwrap();
    let mut kv = KvClient::new(channel.clone());
    let refused = kv.range(pb::RangeRequest { key: bytes("k"), ..Default::default() }).await.unwrap_err();
    assert!(refused.message().contains("404"), "{refused}");
    let put = pb::PutRequest { key: bytes("stranger"), ..Default::default() };
    kv.put(put).await.unwrap_err();
    let mut maintenance = MaintenanceClient::new(channel.clone());
    if let Ok(answers) = maintenance.snapshot(pb::SnapshotRequest {}).await {
        answers.into_inner().message().await.unwrap_err();
    }
    assert_eq!(rig.store.revision().0, 2, "nothing was written");
    drop((channel, kv, maintenance));
    rig.stop().await;
}
