//! What kinds do beyond being stored: budgets in evictions, two versions of one kind, who asks for a certificate.

use serde_json::{Value, json};

use crate::every_kind::examples;
use crate::server::TestServer;

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_refuses_an_eviction_until_it_allows_one() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let account = json!({"metadata": {"name": "default"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let pod = json!({
        "metadata": {"name": "web-1", "labels": {"app": "web"}, "finalizers": ["example.com/seen"]},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    admin.post(PODS, &pod).await.expect(201);
    let running =
        json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    admin.patch(&format!("{PODS}/web-1/status"), "merge", &running).await.expect(200);
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    admin.post(budgets, &budget).await.expect(201);

    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web-1"}});
    let refused = admin.post(&format!("{PODS}/web-1/eviction"), &eviction).await;
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!(
        refused.expect(429)["message"],
        "Cannot evict pod as it would violate the pod's disruption budget."
    );

    let status = json!({"status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
    }});
    admin.patch(&format!("{budgets}/web/status"), "merge", &status).await.expect(200);
    let mut dry = eviction.clone();
    dry["deleteOptions"] = json!({"dryRun": ["All"]});
    admin.post(&format!("{PODS}/web-1/eviction"), &dry).await.expect(201);
    let untouched = admin.get(&format!("{budgets}/web")).await.expect(200);
    assert_eq!(untouched["status"]["disruptionsAllowed"], 1);
    let mut exact = eviction.clone();
    exact["deleteOptions"] = json!({"preconditions": {"resourceVersion": "1"}});
    admin.post(&format!("{PODS}/web-1/eviction"), &exact).await.expect(409);
    let seen = admin.get(&format!("{PODS}/web-1")).await.expect(200);
    assert_eq!(seen["status"]["conditions"].as_array().unwrap().len(), 1, "{seen}");
    let status = json!({"status": {"disruptionsAllowed": 1}});
    admin.patch(&format!("{budgets}/web/status"), "merge", &status).await.expect(200);
    exact["deleteOptions"]["preconditions"]["resourceVersion"] = seen["metadata"]["resourceVersion"].clone();
    admin.post(&format!("{PODS}/web-1/eviction"), &exact).await.expect(201);
    let going = admin.get(&format!("{PODS}/web-1")).await.expect(200);
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    let why = &going["status"]["conditions"][1];
    assert_eq!((&why["type"], &why["reason"]), (&json!("DisruptionTarget"), &json!("EvictionByEvictionAPI")));
    let after = admin.get(&format!("{budgets}/web")).await.expect(200);
    assert_eq!(after["status"]["disruptionsAllowed"], 0);
    assert!(after["status"]["disruptedPods"]["web-1"].is_string(), "{after}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_one_object_in_two_versions() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {
            "maxReplicas": 5, "targetCPUUtilizationPercentage": 60,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    });
    let made = admin.post(v1, &made).await.expect(201);
    let other = admin.get(&format!("{v2}/web")).await.expect(200);
    assert_eq!(
        (&other["apiVersion"], &made["apiVersion"]),
        (&json!("autoscaling/v2"), &json!("autoscaling/v1"))
    );
    assert_eq!(other["metadata"]["uid"], made["metadata"]["uid"]);
    let cpu = json!([{"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60},
    }}]);
    assert_eq!(other["spec"]["metrics"], cpu);

    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = admin.watch(&format!("{v1}?watch=1&resourceVersion={version}"), "application/json").await;
    let memory = json!([{"type": "Resource", "resource": {
        "name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"},
    }}]);
    admin.patch(&format!("{v2}/web"), "merge", &json!({"spec": {"metrics": memory}})).await.expect(200);
    let event = watch.next().await.unwrap();
    let annotation =
        event["object"]["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].as_str();
    let metrics: Value = serde_json::from_str(annotation.unwrap()).unwrap();
    assert_eq!(metrics[0]["resource"]["name"], "memory");
    assert_eq!(event["object"]["apiVersion"], "autoscaling/v1");

    // What v1 cannot say survives a change through v1.
    admin.patch(&format!("{v1}/web"), "merge", &json!({"spec": {"maxReplicas": 7}})).await.expect(200);
    let kept = admin.get(&format!("{v2}/web")).await.expect(200);
    assert_eq!((&kept["spec"]["metrics"], &kept["spec"]["maxReplicas"]), (&memory, &json!(7)));
    assert_eq!(kept["metadata"]["annotations"], Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_request_says_who_asked_and_when_it_was_approved() {
    let server = TestServer::start().await;
    let jane = server.user("jane", &["system:masters"]);
    let all = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let mut request = examples().into_iter().find(|one| one["kind"] == "CertificateSigningRequest").unwrap();
    request["spec"]["username"] = json!("admin");
    let made = jane.post(all, &request).await.expect(201);
    assert_eq!(made["spec"]["username"], "jane");
    let name = made["metadata"]["name"].as_str().unwrap();
    let mut approved = made.clone();
    approved["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "yes"}]);
    let ignored = jane.put(&format!("{all}/{name}"), &approved).await.expect(200);
    assert_eq!(ignored["status"]["conditions"], Value::Null);
    let answer = jane.put(&format!("{all}/{name}/approval"), &approved).await.expect(200);
    assert!(answer["status"]["conditions"][0]["lastTransitionTime"].is_string(), "{answer}");
    server.stop().await;
}
