//! Admission webhooks, asked over TLS by the real server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::pod;
use crate::client::{Client, config_map};
use crate::server::TestServer;
use crate::tls_peer::{Does, Peer};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

/// A webhook that answers each request of a review with what `respond` says.
pub(super) async fn hook(server: &TestServer, respond: fn(&Value) -> Value) -> Peer {
    Peer::start(server, move |asked| {
        let review = asked.json();
        let mut response = respond(&review["request"]);
        response["uid"] = review["request"]["uid"].clone();
        let (version, kind) = (&review["apiVersion"], &review["kind"]);
        Does::Answer(200, json!({"apiVersion": version, "kind": kind, "response": response}))
    })
    .await
}

/// The requests that a hook was asked about.
pub(super) fn requests(peer: &Peer) -> Vec<Value> {
    peer.asked().iter().map(|asked| asked.json()["request"].clone()).collect()
}

/// A configuration with one webhook about ConfigMaps, `extra` over the usual.
pub(super) fn configuration(kind: &str, name: &str, peer: &Peer, extra: &Value) -> Value {
    let mut webhook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": {"url": peer.url("/review"), "caBundle": peer.ca_bundle()},
        "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 5,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
    });
    webhook.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": name}, "webhooks": [webhook]})
}

pub(super) async fn install(client: &Client, configuration: &Value) {
    let plural = configuration["kind"].as_str().unwrap().to_lowercase();
    client.post(&format!("{REGISTRATION}/{plural}s"), configuration).await.expect(201);
    // A list waits until the cache has the configuration, which is what admission reads.
    client.get(&format!("{REGISTRATION}/{plural}s")).await.expect(200);
}

pub(super) fn patch(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}

fn allows(_request: &Value) -> Value {
    json!({"allowed": true})
}

/// Adds a key where it is not there.
fn adds_a(request: &Value) -> Value {
    if request["object"]["data"]["a"].is_null() {
        patch(&json!([{"op": "add", "path": "/data/a", "value": "1"}]))
    } else {
        allows(request)
    }
}

fn adds_b(request: &Value) -> Value {
    if request["object"]["data"]["b"].is_null() {
        patch(&json!([{"op": "add", "path": "/data/b", "value": "2"}]))
    } else {
        allows(request)
    }
}

fn refuses_x(request: &Value) -> Value {
    if request["object"]["data"]["x"].is_null() {
        json!({"allowed": true, "warnings": ["x is not allowed here"]})
    } else {
        json!({"allowed": false, "status": {"message": "no x here", "code": 409, "reason": "Conflict"}})
    }
}

fn map(name: &str, data: &Value) -> Value {
    config_map(name, &json!({}), data)
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_change_refuse_and_warn() {
    let server = TestServer::start().await;
    let client = server.admin();
    let first = hook(&server, adds_a).await;
    let second = hook(&server, adds_b).await;
    let third = hook(&server, refuses_x).await;
    install(&client, &configuration("Mutating", "one", &first, &json!({"reinvocationPolicy": "IfNeeded"})))
        .await;
    install(&client, &configuration("Mutating", "two", &second, &json!({}))).await;
    install(&client, &configuration("Validating", "three", &third, &json!({}))).await;

    let answer = client.post(MAPS, &map("m", &json!({"k": "v"}))).await;
    let made = answer.expect(201);
    assert_eq!(made["data"], json!({"a": "1", "b": "2", "k": "v"}));
    assert_eq!(answer.header("warning"), r#"299 - "x is not allowed here""#);
    assert_eq!(requests(&first).len(), 2, "asked again after the second hook changed the object");
    assert_eq!(requests(&second).len(), 1, "its policy is Never");
    let asked = requests(&third).remove(0);
    assert_eq!((&asked["operation"], &asked["object"]["data"]), (&json!("CREATE"), &made["data"]));
    assert_eq!(asked["object"]["kind"], "ConfigMap");
    assert_eq!(asked["requestResource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!(asked["options"]["kind"], "CreateOptions");
    assert_eq!((&asked["oldObject"], &asked["dryRun"]), (&Value::Null, &json!(false)));
    assert_eq!((&asked["namespace"], &asked["name"]), (&json!("default"), &json!("m")));
    assert_eq!(asked["userInfo"]["username"], "admin");
    let call = third.asked().remove(0);
    assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "/review?timeout=5s"));
    assert_eq!((call.header("content-type"), &call.caller), ("application/json", &None));

    let refused = client.post(MAPS, &map("n", &json!({"x": "1"}))).await.expect(409);
    assert_eq!(refused["message"], r#"admission webhook "three.example.com" denied the request: no x here"#);
    assert_eq!(refused["reason"], "Conflict");
    let elsewhere = "/api/v1/namespaces/kube-system/configmaps";
    client.post(elsewhere, &map("n", &json!({"x": "1"}))).await.expect(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_updates_deletes_and_connects_are_told_as_such() {
    let server = TestServer::start().await;
    let client = server.admin();
    let peer = hook(&server, |request| match request["operation"].as_str() {
        Some("DELETE") => json!({"allowed": false}),
        Some("CONNECT") => json!({"allowed": false, "status": {"reason": "Forbidden", "code": 403}}),
        _ => json!({"allowed": true}),
    })
    .await;
    let all = json!({"rules": [
        {"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["configmaps"], "scope": "Namespaced"},
        {"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"]}]});
    install(&client, &configuration("Validating", "all", &peer, &all)).await;

    client.post(&format!("{MAPS}?dryRun=All"), &map("m", &json!({}))).await.expect(201);
    assert_eq!(requests(&peer)[0]["dryRun"], true);
    assert_eq!(client.get(&format!("{MAPS}/m")).await.code, 404);
    client.post(MAPS, &map("m", &json!({}))).await.expect(201);
    client.patch(&format!("{MAPS}/m"), "merge", &json!({"data": {"k": "v"}})).await.expect(200);
    let update = requests(&peer).remove(2);
    assert_eq!(
        (&update["operation"], &update["options"]["kind"]),
        (&json!("UPDATE"), &json!("UpdateOptions"))
    );
    assert_eq!((&update["object"]["data"]["k"], &update["oldObject"]["data"]), (&json!("v"), &Value::Null));
    let refused = client.delete(&format!("{MAPS}/m")).await.expect(400);
    assert_eq!(
        refused["message"],
        r#"admission webhook "all.example.com" denied the request without explanation"#
    );
    let delete = requests(&peer).remove(3);
    assert_eq!((&delete["object"], &delete["oldObject"]["data"]["k"]), (&Value::Null, &json!("v")));

    super::service_account(&client, "default", "default").await;
    client.post("/api/v1/namespaces/default/pods", &pod("p", &json!({}))).await.expect(201);
    let exec = client.post("/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1", &json!({})).await;
    assert_eq!(
        exec.expect(403)["message"],
        r#"admission webhook "all.example.com" denied the request: Forbidden"#
    );
    let connect = requests(&peer).pop().unwrap();
    assert_eq!(
        (&connect["kind"]["kind"], &connect["subResource"]),
        (&json!("PodExecOptions"), &json!("exec"))
    );
    assert_eq!(connect["object"]["command"], json!(["ls"]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subresources_collections_and_namespaces_are_told_as_upstream_tells_them() {
    let server = TestServer::start().await;
    let client = server.admin();
    let peer = hook(&server, |request| json!({"allowed": request["kind"]["kind"] != "ConfigMap" || request["operation"] != "DELETE"})).await;
    let all = json!({"rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps", "pods", "pods/eviction", "serviceaccounts/token", "namespaces"]}]});
    super::service_account(&client, "default", "default").await;
    client.post("/api/v1/namespaces/default/pods", &pod("p", &json!({}))).await.expect(201);
    client.post(MAPS, &map("m", &json!({}))).await.expect(201);
    install(&client, &configuration("Validating", "all", &peer, &all)).await;

    let told = |asked: &Value| {
        let text = |of: &Value| of.as_str().unwrap_or("-").to_owned();
        [
            &asked["operation"],
            &asked["subResource"],
            &asked["kind"]["kind"],
            &asked["name"],
            &asked["options"]["kind"],
        ]
        .map(text)
    };
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    client.patch("/api/v1/namespaces/default", "merge", &label).await.expect(200);
    let whole = requests(&peer).pop().unwrap();
    assert_eq!(
        (&whole["name"], &whole["namespace"]),
        (&json!("default"), &json!("default")),
        "it is in itself"
    );
    let before = requests(&peer).len();
    let maps = client.delete(&format!("{MAPS}?fieldSelector=metadata.name=m")).await;
    assert_eq!(maps.code, 400);
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    client.post("/api/v1/namespaces/default/serviceaccounts/default/token", &token).await.expect(201);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    client.post("/api/v1/namespaces/default/pods/p/eviction", &eviction).await.expect(201);
    let apply = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{MAPS}/new?fieldManager=x");
    client.call(Method::PATCH, &path, &apply, map("new", &json!({})).to_string()).await.expect(201);
    assert_eq!(
        requests(&peer).iter().skip(before).map(told).collect::<Vec<_>>(),
        [
            ["DELETE", "-", "ConfigMap", "-", "DeleteOptions"],
            ["CREATE", "token", "TokenRequest", "default", "CreateOptions"],
            // The pod's delete is a part of its eviction, of which admission has been asked.
            ["CREATE", "eviction", "Eviction", "p", "CreateOptions"],
            ["CREATE", "-", "ConfigMap", "new", "CreateOptions"],
        ]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_cannot_be_asked_fail_or_not() {
    let server = TestServer::start().await;
    let client = server.admin();
    let silent = Peer::start(&server, |_| Does::Nothing).await;
    let quick = json!({"failurePolicy": "Ignore", "timeoutSeconds": 1});
    install(&client, &configuration("Validating", "open", &silent, &quick)).await;
    client.post(MAPS, &map("a", &json!({}))).await.expect(201);
    assert_eq!(silent.asked().len(), 1);
    client.delete(&format!("{REGISTRATION}/validatingwebhookconfigurations/open")).await.expect(200);

    let shut = configuration("Validating", "shut", &silent, &json!({"timeoutSeconds": 1}));
    install(&client, &shut).await;
    let refused = client.post(MAPS, &map("b", &json!({}))).await.expect(500);
    assert_eq!(
        refused["message"],
        format!(
            "Internal error occurred: failed calling webhook \"shut.example.com\": failed to call webhook: Post \"{}?timeout=1s\": context deadline exceeded",
            silent.url("/review")
        )
    );
    client.delete(&format!("{REGISTRATION}/validatingwebhookconfigurations/shut")).await.expect(200);

    let wrong = hook(&server, |_| json!({"allowed": true, "patch": "W10=", "patchType": "JSONPatch"})).await;
    let labelled = json!({"objectSelector": {"matchLabels": {"checked": "yes"}}});
    install(&client, &configuration("Validating", "wrong", &wrong, &labelled)).await;
    client.post(MAPS, &map("b", &json!({}))).await.expect(201);
    let checked = config_map("c", &json!({"checked": "yes"}), &json!({}));
    assert_eq!(
        client.post(MAPS, &checked).await.expect(500)["message"],
        "Internal error occurred: failed calling webhook \"wrong.example.com\": received invalid webhook response: validating webhook may not return response.patch"
    );
    // The webhook's certificate is not signed by this CA.
    let mut stranger = configuration("Validating", "stranger", &wrong, &json!({}));
    let other = TestServer::start().await;
    stranger["webhooks"][0]["clientConfig"]["caBundle"] = json!(STANDARD.encode(other.ca.certificate_pem()));
    install(&client, &stranger).await;
    let refused = client.post(MAPS, &map("d", &json!({}))).await.expect(500);
    assert!(refused["message"].as_str().unwrap().contains("tls: "), "{refused}");
    other.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn match_conditions_spare_hooks() {
    let server = TestServer::start().await;
    let client = server.admin();
    let peer = hook(&server, |_| json!({"allowed": false})).await;
    let conditions = json!({"matchConditions": [
        {"name": "not-nodes", "expression": "!('system:nodes' in request.userInfo.groups)"},
        {"name": "marked", "expression": "has(object.data) && 'mark' in object.data"}]});
    install(&client, &configuration("Validating", "some", &peer, &conditions)).await;
    client.post(MAPS, &map("plain", &json!({"k": "v"}))).await.expect(201);
    client.post(MAPS, &map("marked", &json!({"mark": "v"}))).await.expect(400);
    assert_eq!(requests(&peer).len(), 1);

    let broken = json!({"matchConditions": [{"name": "broken", "expression": "object.data.nothing == 'x'"}]});
    install(&client, &configuration("Validating", "broken", &peer, &broken)).await;
    let refused = client.post(MAPS, &map("e", &json!({}))).await.expect(403);
    assert!(
        refused["message"].as_str().unwrap().contains("match condition 'broken' resulted in error"),
        "{refused}"
    );
    let invalid = json!({"matchConditions": [{"name": "bad", "expression": "object.("}]});
    let refused = client
        .post(
            &format!("{REGISTRATION}/validatingwebhookconfigurations"),
            &configuration("Validating", "bad", &peer, &invalid),
        )
        .await
        .expect(422);
    assert!(
        refused["message"].as_str().unwrap().contains("webhooks[0].matchConditions[0].expression"),
        "{refused}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_sees_the_version_that_its_rule_names() {
    let server = TestServer::start().await;
    let client = server.admin();
    let peer = hook(&server, allows).await;
    let rules = json!([{"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"],
        "resources": ["horizontalpodautoscalers"]}]);
    install(&client, &configuration("Validating", "old", &peer, &json!({"rules": rules}))).await;
    let exact = json!({"rules": rules, "matchPolicy": "Exact"});
    let never = hook(&server, allows).await;
    install(&client, &configuration("Validating", "exact", &never, &exact)).await;
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    client
        .post("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", &scaler)
        .await
        .expect(201);
    let asked = requests(&peer).remove(0);
    assert_eq!(asked["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(asked["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
    assert_eq!((&asked["kind"]["version"], &asked["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert!(requests(&never).is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_behind_a_service_needs_its_endpoints() {
    let server = TestServer::start().await;
    let client = server.admin();
    let peer = hook(&server, adds_a).await;
    let service = json!({"clientConfig": {"caBundle": peer.ca_bundle(),
        "service": {"namespace": "default", "name": "peer", "path": "/mutate", "port": 8443}}});
    install(&client, &configuration("Mutating", "inside", &peer, &service)).await;
    let refused = async |why: &str| {
        let answer = client.post(MAPS, &map("m", &json!({"k": "v"}))).await.expect(500);
        assert_eq!(
            answer["message"],
            format!(
                "Internal error occurred: failed calling webhook \"inside.example.com\": failed to call webhook: Post \"https://peer.default.svc:8443/mutate?timeout=5s\": {why}"
            )
        );
    };
    refused("service \"peer\" not found").await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peer"},
        "spec": {"ports": [{"name": "https", "port": 443}]}});
    client.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    refused("no service port \"8443\" found for service \"peer\"").await;
    let ports = json!({"spec": {"ports": [{"name": "https", "port": 8443}]}});
    client.patch("/api/v1/namespaces/default/services/peer", "merge", &ports).await.expect(200);
    refused("no endpoints available for service \"peer\"").await;
    assert!(peer.asked().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_told_of_hooks_and_what_they_want_to_tell() {
    let log = super::audit::Log::new();
    let server = TestServer::configured(|config| config.audit = Some(log.config())).await;
    let client = server.admin();
    let changes = hook(&server, |_request| {
        let mut answer = patch(&json!([{"op": "add", "path": "/data/a", "value": "1"}]));
        answer["auditAnnotations"] = json!({"why": "it was asked to"});
        answer
    })
    .await;
    install(&client, &configuration("Mutating", "one", &changes, &json!({}))).await;
    let gone = json!({"clientConfig": {"url": "https://127.0.0.1:1/"}, "failurePolicy": "Ignore"});
    install(&client, &configuration("Mutating", "two", &changes, &gone)).await;
    install(&client, &configuration("Validating", "three", &changes, &gone)).await;
    let asks = json!({"matchConditions": [{"name": "admins", "expression": "!authorizer.path('/x').check('get').allowed()"}]});
    let spared = hook(&server, allows).await;
    install(&client, &configuration("Mutating", "zero", &spared, &asks)).await;
    let headers = [("content-type", "application/json"), ("audit-id", "m")];
    let body = map("m", &json!({"k": "v"})).to_string();
    assert_eq!(client.call(http::Method::POST, MAPS, &headers, body).await.code, 201);
    let event = log.of("m").pop().unwrap();
    let told = |key: &str| event["annotations"][key].as_str().unwrap_or_default().to_owned();
    let read = |key: &str| serde_json::from_str::<Value>(&told(key)).unwrap();
    assert_eq!(told("one.example.com/why"), "it was asked to");
    assert_eq!(
        read("mutation.webhook.admission.k8s.io/round_0_index_0"),
        json!({"configuration": "one", "webhook": "one.example.com", "mutated": true})
    );
    assert_eq!(
        read("patch.webhook.admission.k8s.io/round_0_index_0"),
        json!({"configuration": "one", "webhook": "one.example.com", "patchType": "JSONPatch",
               "patch": [{"op": "add", "path": "/data/a", "value": "1"}]})
    );
    assert_eq!(told("failed-open.mutation.webhook.admission.k8s.io/round_0_index_1"), "two.example.com");
    assert_eq!(told("failed-open.validating.webhook.admission.k8s.io/round_0_index_0"), "three.example.com");
    assert!(requests(&spared).is_empty(), "its condition asks what the administrator may");
    server.stop().await;
}
