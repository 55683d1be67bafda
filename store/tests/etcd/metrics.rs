//! `/metrics` holds what etcd's dashboards and alert rules look for, and what ours does.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mainstay_proto_wire::etcd::etcdserverpb as pb;
use mainstay_store::etcd::FaceConfig;
use mainstay_store::{ClusterConfig, Config, InitialMember, MemoryNetwork, Store};

use crate::rig::{Rig, SOON, bytes, http};

/// What etcd's own dashboard and its alert rules (`contrib/mixin`) are made of, with the type that they rely on.
const UPSTREAM: &[(&str, &str)] = &[
    ("etcd_disk_backend_commit_duration_seconds", "histogram"),
    ("etcd_disk_wal_fsync_duration_seconds", "histogram"),
    ("etcd_mvcc_db_total_size_in_bytes", "gauge"),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge"),
    ("etcd_network_client_grpc_received_bytes_total", "counter"),
    ("etcd_network_client_grpc_sent_bytes_total", "counter"),
    ("etcd_network_peer_received_bytes_total", "counter"),
    ("etcd_network_peer_round_trip_time_seconds", "histogram"),
    ("etcd_network_peer_sent_bytes_total", "counter"),
    ("etcd_network_peer_sent_failures_total", "counter"),
    ("etcd_server_has_leader", "gauge"),
    ("etcd_server_leader_changes_seen_total", "counter"),
    ("etcd_server_proposals_applied_total", "gauge"),
    ("etcd_server_proposals_committed_total", "gauge"),
    ("etcd_server_proposals_failed_total", "counter"),
    ("etcd_server_proposals_pending", "gauge"),
    ("etcd_server_quota_backend_bytes", "gauge"),
    ("grpc_server_handled_total", "counter"),
    ("grpc_server_handling_seconds", "histogram"),
    ("grpc_server_started_total", "counter"),
    ("process_max_fds", "gauge"),
    ("process_open_fds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    // Others that operators know.
    ("etcd_mvcc_put_total", "counter"),
    ("etcd_mvcc_range_total", "counter"),
    ("etcd_mvcc_txn_total", "counter"),
    ("etcd_mvcc_delete_total", "counter"),
    ("etcd_server_is_leader", "gauge"),
    ("etcd_server_is_learner", "gauge"),
    ("etcd_server_lease_expired_total", "counter"),
    ("etcd_server_read_indexes_failed_total", "counter"),
    ("etcd_server_health_success", "counter"),
    ("etcd_server_health_failures", "counter"),
    ("etcd_server_version", "gauge"),
    ("etcd_cluster_version", "gauge"),
    ("etcd_server_id", "gauge"),
    ("etcd_disk_wal_write_bytes_total", "counter"),
    ("etcd_network_active_peers", "gauge"),
    ("etcd_network_known_peers", "gauge"),
    ("etcd_network_disconnected_peers_total", "counter"),
    ("etcd_network_peer_received_failures_total", "counter"),
];

async fn scrape(rig: &Rig) -> String {
    let (status, text) = http(rig.metrics_port, "GET", "/metrics", "").await;
    assert_eq!(status, 200, "{text}");
    text
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn what_etcds_dashboard_and_alerts_look_for_is_there() {
    let rig = Rig::with(FaceConfig { metrics_extensive: true, ..FaceConfig::default() }).await;
    rig.put("k", "v").await;
    let text = scrape(&rig).await;
    for (name, kind) in UPSTREAM {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}, a {kind}, is missing:\n{text}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert!(seen.insert(line.split(' ').nth(2).unwrap().to_owned()), "twice: {line}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_dashboard_shows_metrics_that_are_there() {
    let dashboard = include_str!("../../../docs/store-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let expressions: Vec<&str> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(expressions.len() > 30);
    let rig = Rig::with(FaceConfig { metrics_extensive: true, ..FaceConfig::default() }).await;
    rig.put("k", "v").await;
    let text = scrape(&rig).await;
    for expression in expressions {
        let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let names = words
            .filter(|word| ["etcd_", "grpc_server_", "process_"].iter().any(|start| word.starts_with(start)));
        let names: Vec<&str> = names.map(|name| name.trim_end_matches("_bucket")).collect();
        assert!(!names.is_empty() || expression.starts_with("sum(up{"), "{expression}");
        for name in names {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} of {expression}");
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn counts_are_of_what_was_done() {
    let rig = Rig::start().await;
    for key in ["a", "b", "c"] {
        rig.put(key, "value").await;
    }
    rig.store.delete("a").await.unwrap();
    let put = |key| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
            key: bytes(key),
            value: bytes("value"),
            ..Default::default()
        })),
    };
    let txn = pb::TxnRequest { success: vec![put("d"), put("e")], ..Default::default() };
    rig.kv().txn(txn).await.unwrap();
    for _ in 0..3 {
        rig.range(pb::RangeRequest { key: bytes("b"), ..Default::default() }).await.unwrap();
    }
    let lease = rig.store.lease_grant(Duration::from_secs(60), None).await.unwrap();
    rig.store.lease_keep_alive(lease.id).await.unwrap();
    rig.store.lease_revoke(lease.id).await.unwrap();
    rig.http("GET", "/health", "").await;
    let text = scrape(&rig).await;
    for (series, wanted) in [
        ("etcd_mvcc_put_total", 5.0),
        ("etcd_mvcc_delete_total", 1.0),
        ("etcd_mvcc_txn_total", 1.0),
        // Health reads too.
        ("etcd_mvcc_range_total", 4.0),
        ("etcd_debugging_mvcc_total_put_size_in_bytes", 30.0),
        ("etcd_debugging_lease_granted_total", 1.0),
        ("etcd_debugging_lease_renewed_total", 1.0),
        ("etcd_debugging_lease_revoked_total", 1.0),
        ("etcd_server_leader_changes_seen_total", 1.0),
        ("etcd_server_proposals_failed_total", 0.0),
        ("etcd_server_proposals_pending", 0.0),
        ("etcd_server_health_success", 1.0),
        ("etcd_server_health_failures", 0.0),
        ("etcd_server_quota_backend_bytes", f64::INFINITY),
    ] {
        assert_eq!(value(&text, series).to_string(), wanted.to_string(), "{series}");
    }
    for series in [
        "etcd_disk_backend_commit_duration_seconds_count",
        "etcd_disk_wal_write_bytes_total",
        "etcd_network_client_grpc_received_bytes_total",
        "etcd_network_client_grpc_sent_bytes_total",
    ] {
        assert!(value(&text, series) >= 7.0, "{series}:\n{text}");
    }
    assert!(!text.contains("grpc_server_handling_seconds"), "measured only if asked for");
    rig.stop().await;
}

#[tokio::test]
async fn traffic_between_members_is_counted_for_each() {
    let network = MemoryNetwork::new();
    let url = |member: usize| format!("http://m{member}:2380");
    let initial = || {
        (0..2).map(move |member| InitialMember { name: format!("m{member}"), peer_urls: vec![url(member)] })
    };
    let mut dirs = Vec::new();
    let mut stores = Vec::new();
    for member in 0..2 {
        dirs.push(tempfile::tempdir().unwrap());
        let name = format!("m{member}");
        let transport = network.transport(name.clone(), [url(member)]);
        let cluster = ClusterConfig {
            heartbeat_interval: Duration::from_millis(20),
            election_timeout: Duration::from_millis(200),
            ..ClusterConfig::new(name, initial(), Arc::new(transport))
        };
        let dir = dirs[member].path().to_path_buf();
        let config = Config { dir, cluster: Some(cluster), disk_reserve_bytes: 0, ..Config::default() };
        stores.push(Store::open(config).await.unwrap());
    }
    let other = stores.pop().unwrap();
    let rig = Rig::over(stores.pop().unwrap(), FaceConfig::default(), dirs.remove(0)).await;
    rig.store.ready().await.unwrap();
    rig.put("k", &"v".repeat(10_000)).await;
    let peer = format!("{:x}", other.member_id());
    let own = format!("{:x}", rig.store.member_id());
    let answered = format!("etcd_network_peer_round_trip_time_seconds_count{{To=\"{peer}\"}}");
    let text = tokio::time::timeout(SOON, async {
        loop {
            let text = scrape(&rig).await;
            if text.contains(&answered) && value(&text, &answered) > 0.0 {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    let [sent, received] = [("sent", "To"), ("received", "From")].map(|(way, label)| {
        value(&text, &format!("etcd_network_peer_{way}_bytes_total{{{label}=\"{peer}\"}}"))
    });
    assert!(sent > 0.0 && received > 0.0 && sent + received > 10_000.0, "{sent} {received}");
    let active = format!("etcd_network_active_peers{{Local=\"{own}\",Remote=\"{peer}\"}} 1\n");
    assert!(text.contains(&active), "{active}:\n{text}");
    assert!(value(&text, "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"}") > 0.0);
    let (stopped, closed) = tokio::join!(rig.stop(), other.close());
    let () = stopped;
    closed.unwrap();
}
