//! API Priority and Fairness of a running server.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, DEADLINE, config_map};
use crate::server::{TestServer, limits};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

/// Waits until an object looks as it should.
async fn until(client: &Client, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let object = client.get(path).await.json();
            if is_so(&object) {
                return object;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{path} does not come to be so"))
}

fn dangling(schema: &Value) -> String {
    let condition = &schema["status"]["conditions"][0];
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    format!("{} {} {}", text("type"), text("status"), text("reason"))
}

fn schema(name: &str, level: &str, user: &str) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": 50,
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": user}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                                   "namespaces": ["*"], "clusterScope": true}],
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_name_the_flow_that_they_were_of() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let uid = async |plural: &str, name: &str| {
        let object = admin.get(&format!("{GROUP}/{plural}/{name}")).await.expect(200);
        object["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let answer = admin.get("/api/v1/namespaces/default").await;
    assert_eq!(answer.header("x-kubernetes-pf-flowschema-uid"), uid("flowschemas", "exempt").await);
    let level = uid("prioritylevelconfigurations", "exempt").await;
    assert_eq!(answer.header("x-kubernetes-pf-prioritylevel-uid"), level);
    let refused = server.anonymous().get("/api/v1/namespaces/default").await;
    assert_eq!(refused.code, 403);
    let other = uid("flowschemas", "global-default").await;
    assert_eq!(refused.header("x-kubernetes-pf-flowschema-uid"), other);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_without_its_level_says_so_and_is_not_followed() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let path = format!("{GROUP}/flowschemas/mine");
    admin
        .post(&format!("{GROUP}/flowschemas"), &schema("mine", "mine", "system:anonymous"))
        .await
        .expect(201);
    let object = until(&admin, &path, |object| !object["status"]["conditions"].is_null()).await;
    assert_eq!(dangling(&object), "Dangling True NotFound");
    let level = json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "mine"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}},
    });
    admin.post(&format!("{GROUP}/prioritylevelconfigurations"), &level).await.expect(201);
    let object = until(&admin, &path, |object| {
        dangling(object).ends_with("Found") && !dangling(object).contains("Not")
    })
    .await;
    assert_eq!(dangling(&object), "Dangling False Found");
    let uid = object["metadata"]["uid"].as_str().unwrap();
    let is_followed = async {
        let anonymous = server.anonymous();
        while anonymous.get("/api/v1/namespaces/default").await.header("x-kubernetes-pf-flowschema-uid")
            != uid
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, is_followed).await.expect("the schema is followed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_of_every_cluster_come_back() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let path = format!("{GROUP}/flowschemas/service-accounts");
    admin.delete(&path).await.expect(200);
    until(&admin, &path, |object| object["kind"] == "FlowSchema").await;
    let change = json!({"spec": {"matchingPrecedence": 8888}});
    admin.patch(&path, "merge", &change).await.expect(200);
    until(&admin, &path, |object| object["spec"]["matchingPrecedence"] == 9000).await;
    let own = json!({"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}},
                     "spec": {"matchingPrecedence": 8888}});
    admin.patch(&path, "merge", &own).await.expect(200);
    // Something else changes, and the administrator's spec stays.
    admin.post(&format!("{GROUP}/flowschemas"), &schema("other", "exempt", "nobody")).await.expect(201);
    until(&admin, &format!("{GROUP}/flowschemas/other"), |object| dangling(object).contains("False")).await;
    assert_eq!(admin.get(&path).await.json()["spec"]["matchingPrecedence"], 8888);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_gives_its_seats_back_when_it_has_begun() {
    // Enough that no level is left without a seat when it lends.
    const SEATS: usize = 40;
    let mut limits = limits();
    limits.inflight_reads_max = SEATS;
    limits.inflight_writes_max = 0;
    limits.request_timeout = Duration::from_secs(8);
    let server = TestServer::with(limits).await;
    let admin = server.admin();
    admin
        .post("/api/v1/namespaces/default/configmaps", &config_map("one", &json!({}), &json!({})))
        .await
        .expect(201);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    });
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &role).await.expect(201);
    let jane = server.user("jane", &[]);
    let path = "/api/v1/namespaces/default/configmaps";
    let mut watches = Vec::new();
    for _ in 0..=SEATS {
        let mut watch = jane.watch(&format!("{path}?watch=1&resourceVersion=0"), "application/json").await;
        assert_eq!(watch.event().await, "ADDED one");
        watches.push(watch);
    }
    assert_eq!(jane.get(path).await.code, 200, "more open watches than seats take none");
    let metrics = admin.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
    let line = r#"apiserver_flowcontrol_current_executing_requests{flow_schema="global-default",priority_level="global-default"} 0"#;
    assert!(text.contains(line), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn priority_levels_are_dumped_as_upstream_does() {
    let server = TestServer::start().await;
    let path = "/debug/api_priority_and_fairness/dump_priority_levels";
    let answer = server.admin().get(path).await;
    assert_eq!(answer.code, 200);
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').map(str::trim).collect()).collect();
    assert_eq!(
        rows[0][..5],
        ["PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests"]
    );
    let level =
        |name: &str| rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{text}")).clone();
    let exempt = level("exempt");
    assert_eq!(exempt[1..6], ["0", "false", "false", "0", "1"], "this request runs there: {text}");
    assert!(exempt[6].parse::<u64>().unwrap() > 0);
    assert_eq!(level("catch-all")[1..6], ["0", "true", "false", "0", "0"]);
    assert_eq!(server.anonymous().get(path).await.code, 403);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_requests_are_dumped_as_upstream_does() {
    let server = TestServer::start().await;
    let page = async |name: &str| {
        let answer = server.admin().get(&format!("/debug/api_priority_and_fairness/{name}")).await;
        assert_eq!(answer.code, 200);
        String::from_utf8(answer.bytes.to_vec()).unwrap()
    };
    let queues = page("dump_queues").await;
    assert!(
        queues.starts_with("PriorityLevelName, Index,  PendingRequests, ExecutingRequests, "),
        "{queues}"
    );
    assert!(queues.contains("\nworkload-low,      0,      0,"), "{queues}");
    let requests = page("dump_requests?includeRequestDetails=1").await;
    let row =
        requests.lines().find(|row| row.contains("dump_requests")).unwrap_or_else(|| panic!("{requests}"));
    let cells: Vec<&str> = row.split(',').map(str::trim).collect();
    assert_eq!(cells[..4], ["exempt", "exempt", "-1", "-1"], "{row}");
    assert_eq!(cells[10..13], ["admin", "get", "/debug/api_priority_and_fairness/dump_requests"], "{row}");
    assert!(!page("dump_requests").await.contains("UserName"));
    for name in ["dump_queues", "dump_requests"] {
        let path = format!("/debug/api_priority_and_fairness/{name}");
        assert_eq!(server.anonymous().get(&path).await.code, 403);
    }
    server.stop().await;
}
