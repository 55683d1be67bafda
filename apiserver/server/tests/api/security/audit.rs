//! The audit log as it is written: who, what, how far, and nothing that should not be there.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::Method;
use mainstay_apiserver_server::audit::{AuditConfig, BatchBounds, LogFile, Policy};
use mainstay_apiserver_server::request::{RequestContext, read_body};
use mainstay_apiserver_server::types::{Endpoint, EndpointKey, Request, Response, full_body};
use mainstay_proto_api::Status;
use serde_json::{Value, json};

use super::arrange::grant;
use super::webhook_sink::Sink;
use crate::client::{DEADLINE, config_map};
use crate::server::TestServer;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- level: None
  users: ["system:apiserver"]
- level: RequestResponse
  resources: [{group: "", resources: [configmaps]}]
  omitStages: [RequestReceived]
- level: Request
  resources: [{group: "", resources: [serviceaccounts]}]
- level: Metadata
"#;

/// The file of an audit log.
pub(crate) struct Log {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Log {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("audit.log"), _dir: dir }
    }

    pub(crate) fn config(&self) -> AuditConfig {
        let log =
            LogFile { path: self.path.clone(), size_bytes_max: 100 << 20, backups_max: 0, age_days_max: 0 };
        AuditConfig {
            policy: Policy::parse(POLICY).unwrap(),
            log: Some(log),
            log_event_bytes_max: None,
            webhook: None,
            webhook_event_bytes_max: None,
        }
    }

    /// The events of a request, by its id.
    pub(super) fn of(&self, id: &str) -> Vec<Value> {
        self.all().into_iter().filter(|event| event["auditID"] == id).collect()
    }

    /// All whole events so far.
    pub(crate) fn all(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
    }
}

fn stages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["stage"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_decide_what_is_told_of_a_request() {
    let log = Log::new();
    let server = TestServer::configured(|config| config.audit = Some(log.config())).await;
    let admin = server.admin();
    let path = "/api/v1/namespaces/default/configmaps";
    let headers = [
        ("content-type", "application/yaml"),
        ("audit-id", "one"),
        ("user-agent", "test/1"),
        ("x-forwarded-for", "192.0.2.7"),
    ];
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n";
    let answer = admin.call(Method::POST, path, &headers, yaml).await;
    assert_eq!((answer.code, answer.header("audit-id")), (201, "one"));
    let events = log.of("one");
    assert_eq!(stages(&events), ["ResponseComplete"]);
    let event = &events[0];
    assert_eq!(
        (&event["kind"], &event["apiVersion"], &event["level"]),
        (&json!("Event"), &json!("audit.k8s.io/v1"), &json!("RequestResponse"))
    );
    assert_eq!(
        (&event["verb"], &event["requestURI"], &event["userAgent"]),
        (&json!("create"), &json!(path), &json!("test/1"))
    );
    assert_eq!(event["user"]["username"], "admin");
    assert_eq!(event["sourceIPs"], json!(["192.0.2.7", "127.0.0.1"]));
    assert_eq!(
        event["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"})
    );
    assert_eq!(event["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(event["requestObject"]["data"], json!({"k": "v"}));
    assert_eq!(event["responseObject"]["metadata"]["name"], "a");
    assert!(event["responseObject"]["metadata"]["managedFields"].is_null());
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "allow");
    // What the client reads as protobuf is told as JSON, a list too.
    let headers =
        [("accept", "application/vnd.kubernetes.protobuf"), ("accept-encoding", "gzip"), ("audit-id", "two")];
    admin.call(Method::GET, path, &headers, "").await;
    let event = &log.of("two")[0];
    assert_eq!(event["responseObject"]["kind"], "ConfigMapList");
    assert!(event["responseObject"]["items"].as_array().unwrap().iter().any(|item| item["data"]["k"] == "v"));
    // Metadata tells no bodies, Request not the answer's.
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "hunter2"}});
    let headers = [("content-type", "application/json"), ("audit-id", "three")];
    admin
        .call(Method::POST, "/api/v1/namespaces/default/secrets", &headers, secret.to_string())
        .await
        .expect(201);
    let events = log.of("three");
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    assert_eq!(events[1]["objectRef"]["name"], "s");
    assert!(!std::fs::read_to_string(&log.path).unwrap().contains("hunter2"));
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    let headers = [("content-type", "application/json"), ("audit-id", "four")];
    admin
        .call(Method::POST, "/api/v1/namespaces/default/serviceaccounts", &headers, account.to_string())
        .await
        .expect(201);
    let events = log.of("four");
    assert_eq!(events[1]["requestObject"]["metadata"]["name"], "robot");
    assert!(events[1]["responseObject"].is_null());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b068_both_names_and_every_refusal_are_told() {
    let log = Log::new();
    let server = TestServer::configured(|config| config.audit = Some(log.config())).await;
    let admin = server.admin();
    let rule = json!({"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]});
    grant(&admin, "joe", json!([rule])).await;
    let joe = server.user("joe", &[]);
    let path = "/api/v1/namespaces/default/secrets";
    let acting = [("impersonate-user", "jane"), ("audit-id", "acting")];
    assert_eq!(joe.call(Method::GET, path, &acting, "").await.code, 403);
    let event = &log.of("acting")[1];
    assert_eq!(
        (&event["user"]["username"], &event["impersonatedUser"]["username"]),
        (&json!("joe"), &json!("jane"))
    );
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(
        (&event["responseStatus"]["code"], &event["responseStatus"]["reason"]),
        (&json!(403), &json!("Forbidden"))
    );
    let refused =
        [("impersonate-user", "jane"), ("impersonate-group", "system:masters"), ("audit-id", "refused")];
    assert_eq!(joe.call(Method::GET, path, &refused, "").await.code, 403);
    let events = log.of("refused");
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    let message = events[1]["responseStatus"]["message"].as_str().unwrap();
    assert!(
        message.contains(r#"groups "system:masters" is forbidden: User "joe" cannot impersonate"#),
        "{message}"
    );
    let bad = [("authorization", "Bearer x.y.z"), ("audit-id", "unknown")];
    assert_eq!(server.anonymous().call(Method::GET, path, &bad, "").await.code, 401);
    let events = log.of("unknown");
    assert_eq!(stages(&events), ["ResponseStarted"]);
    assert_eq!(events[0]["responseStatus"]["message"], "Authentication failed, attempted: bearer");
    assert!(!std::fs::read_to_string(&log.path).unwrap().contains("x.y.z"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_told_when_it_starts_and_when_it_ends() {
    let log = Log::new();
    let server = TestServer::configured(|config| config.audit = Some(log.config())).await;
    let admin = server.admin();
    let path = "/api/v1/namespaces/default/secrets?watch=1&timeoutSeconds=1";
    admin.call(Method::GET, path, &[("audit-id", "watch")], "").await;
    let ended = async {
        while log.of("watch").len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.expect("the watch's end is told");
    assert_eq!(stages(&log.of("watch")), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_security_tells_what_it_found() {
    let log = Log::new();
    let server = TestServer::configured(|config| config.audit = Some(log.config())).await;
    let admin = server.admin();
    let labels = json!({"pod-security.kubernetes.io/audit": "restricted"});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": labels}});
    admin.post("/api/v1/namespaces", &namespace).await.expect(201);
    super::arrange::service_account(&admin, "n", "default").await;
    let headers = [("content-type", "application/json"), ("audit-id", "pod")];
    let pod = super::arrange::pod("p", &json!({}));
    admin.call(Method::POST, "/api/v1/namespaces/n/pods", &headers, pod.to_string()).await.expect(201);
    let events = log.of("pod");
    let annotations = &events[1]["annotations"];
    assert_eq!(annotations["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
    let told = annotations["pod-security.kubernetes.io/audit-violations"].as_str().unwrap();
    assert!(told.starts_with(r#"would violate PodSecurity "restricted:latest": "#), "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_batches_and_holds_up_nobody() {
    let sink = Sink::start().await;
    let bounds = BatchBounds { size_max: 2, ..BatchBounds::default() };
    let remote = sink.remote();
    let server = TestServer::configured(|config| {
        let policy = Policy::parse(POLICY).unwrap();
        config.audit = Some(AuditConfig {
            policy,
            log: None,
            log_event_bytes_max: None,
            webhook: Some((remote, bounds)),
            webhook_event_bytes_max: None,
        });
    })
    .await;
    let admin = server.admin();
    for name in ["a", "b"] {
        let object = config_map(name, &json!({}), &json!({}));
        admin.post("/api/v1/namespaces/default/configmaps", &object).await.expect(201);
    }
    let list = sink.next().await;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| &item["objectRef"]["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_too_large_loses_its_objects() {
    let log = Log::new();
    let server = TestServer::configured(|config| {
        config.audit = Some(AuditConfig { log_event_bytes_max: Some(2000), ..log.config() });
    })
    .await;
    let admin = server.admin();
    let path = "/api/v1/namespaces/default/configmaps";
    for (id, size) in [("small", 10), ("large", 3000)] {
        let map = config_map(id, &json!({}), &json!({"k": "x".repeat(size)}));
        let headers = [("content-type", "application/json"), ("audit-id", id)];
        assert_eq!(admin.call(Method::POST, path, &headers, map.to_string()).await.code, 201);
        let event = log.of(id).pop().unwrap();
        let is_large = id == "large";
        assert_eq!(
            event["requestObject"].is_null() && event["responseObject"].is_null(),
            is_large,
            "{event}"
        );
        assert_eq!(event["annotations"]["audit.k8s.io/truncated"] == "true", is_large, "{event}");
        assert_eq!(event["objectRef"]["name"], id);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_tell_what_they_found_and_what_they_are_to_tell() {
    let log = Log::new();
    let server = TestServer::configured(|config| config.audit = Some(log.config())).await;
    let admin = server.admin();
    let group = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "sizes"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                                                    "resources": ["configmaps"]}]},
            "validations": [
                {"expression": "true"},
                {"expression": "object.data.size() < 1 || authorizer.group('').resource('secrets').check('get').allowed()",
                 "message": "too many"},
                {"expression": "object.data.size() < 1", "message": "too many for anybody"}],
            "auditAnnotations": [{"key": "count", "valueExpression": "string(object.data.size())"}]}});
    admin.post(&format!("{group}/validatingadmissionpolicies"), &policy).await.expect(201);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "bound"}, "spec": {"policyName": "sizes", "validationActions": ["Warn", "Audit"]}});
    admin.post(&format!("{group}/validatingadmissionpolicybindings"), &binding).await.expect(201);
    let path = "/api/v1/namespaces/default/configmaps";
    let map = config_map("two", &json!({}), &json!({"a": "1", "b": "2"}));
    let headers = [("content-type", "application/json"), ("audit-id", "two")];
    let told = async {
        loop {
            let answer =
                admin.call(Method::POST, &format!("{path}?dryRun=All"), &headers, map.to_string()).await;
            if answer.headers.contains_key("warning") {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(DEADLINE, told).await.expect("the policy is followed");
    assert_eq!(answer.code, 201);
    assert!(answer.header("warning").ends_with("with binding 'bound': too many for anybody\""), "{answer:?}");
    let event = log.of("two").pop().unwrap();
    let notes = &event["annotations"];
    assert_eq!(notes["sizes/count"], "2");
    let failures: Value = serde_json::from_str(
        notes["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap(),
    )
    .unwrap();
    assert_eq!(
        failures,
        json!([{"message": "too many for anybody", "policy": "sizes", "binding": "bound", "expressionIndex": 2,
                "validationActions": ["Warn", "Audit"]}])
    );
    let checked = async {
        loop {
            let policy = admin.get(&format!("{group}/validatingadmissionpolicies/sizes")).await.expect(200);
            if policy["status"]["observedGeneration"] == 1 {
                return policy;
            }
        }
    };
    let checked = tokio::time::timeout(DEADLINE, checked).await.expect("its types are checked");
    assert_eq!(checked["status"]["typeChecking"], json!({}), "nothing is wrong with them");
    server.stop().await;
}

/// Answers with what it was sent, as the desk for joining servers answers with the cluster's keys.
struct Echo;

impl Endpoint for Echo {
    fn call(&self, _context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let sent = read_body(&parts.headers, body, 1024).await?;
            let mut response = Response::new(full_body(sent));
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
            Ok(response)
        })
    }
}

/// As upstream: only objects of the API are told, whatever the level. The keys that a joining server gets are none.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_what_is_no_resource_are_never_told() {
    let log = Log::new();
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: RequestResponse}]}";
    let server = TestServer::configured(|config| {
        config.audit = Some(AuditConfig { policy: Policy::parse(policy).unwrap(), ..log.config() });
        let key = EndpointKey::new("", "/mainstay/v1/servers", "");
        config.endpoints.push((key, Arc::new(Echo)));
    })
    .await;
    let body = json!({"sealed": "swordfish"}).to_string();
    let headers = [("content-type", "application/json"), ("audit-id", "join")];
    let answer = server.admin().call(Method::POST, "/mainstay/v1/servers", &headers, body).await;
    assert_eq!(answer.expect(200)["sealed"], "swordfish");
    let events = log.of("join");
    assert_eq!(stages(&events), ["RequestReceived", "ResponseComplete"]);
    assert_eq!(events[1]["level"], "RequestResponse");
    assert_eq!(events[1]["responseStatus"]["code"], 200);
    let text = serde_json::to_string(&events).unwrap();
    assert!(!text.contains("swordfish") && !text.contains("Object\""), "{text}");
    server.stop().await;
}
