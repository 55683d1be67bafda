//! Authorizers that ask a webhook: order, memory, conditions, failures.

use std::time::Duration;

use mainstay_apiserver_server::authz::webhook::{
    AuthorizationConfig, Conditions, ConfigFile, Mode, ReviewVersion, WebhookConfig,
};
use serde_json::{Value, json};

use super::webhook_sink::Sink;
use crate::client::DEADLINE;
use crate::server::TestServer;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

fn webhook(sink: &Sink) -> WebhookConfig {
    WebhookConfig {
        name: "other".to_owned(),
        remote: sink.remote(),
        version: ReviewVersion::V1,
        authorized_ttl: Some(Duration::from_secs(60)),
        unauthorized_ttl: None,
        timeout: Duration::from_secs(5),
        failure_denies: false,
        conditions: Conditions::default(),
    }
}

async fn server(webhook: WebhookConfig) -> TestServer {
    TestServer::configured(move |config| {
        let modes = vec![Mode::Node, Mode::Rbac, Mode::Webhook(Box::new(webhook))];
        config.authorization = AuthorizationConfig { modes, file: None };
    })
    .await
}

/// Lets jane, refuses joe, and knows nothing of others.
fn says(body: &Value) -> Value {
    match body["spec"]["user"].as_str() {
        Some("jane") => json!({"status": {"allowed": true, "reason": "jane may"}}),
        Some("joe") => json!({"status": {"allowed": false, "denied": true, "reason": "never joe"}}),
        _ => json!({"status": {"allowed": false, "reason": "who is that?"}}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rbac_does_not_allow_the_webhook_is_asked() {
    let sink = Sink::answering(|_path, body| (200, says(body))).await;
    let server = server(webhook(&sink)).await;
    let jane = server.user("jane", &["dev"]);
    jane.get(&format!("{SECRETS}?fieldSelector=metadata.name%3Da&labelSelector=x+in+(1,2)"))
        .await
        .expect(200);
    let asked = sink.next().await;
    assert_eq!(asked["apiVersion"], "authorization.k8s.io/v1");
    assert_eq!(
        asked["spec"],
        json!({
            "user": "jane", "groups": ["dev", "system:authenticated"],
            "extra": asked["spec"]["extra"],
            "resourceAttributes": {
                "namespace": "default", "verb": "list", "version": "v1", "resource": "secrets", "name": "a",
                "fieldSelector": {"requirements": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]},
                "labelSelector": {"requirements": [{"key": "x", "operator": "In", "values": ["1", "2"]}]},
            },
        })
    );
    let refused = server.user("joe", &[]).get(SECRETS).await;
    assert_eq!(refused.code, 403);
    assert!(refused.json()["message"].as_str().unwrap().ends_with(": never joe"), "{refused:?}");
    assert_eq!(sink.next().await["spec"]["user"], "joe");
    // Allowed by RBAC, so that nobody is asked; and jane's is remembered.
    assert_eq!(jane.get("/version").await.code, 200);
    jane.get(SECRETS).await.expect(200);
    assert_eq!(sink.next().await["spec"]["resourceAttributes"]["name"], Value::Null);
    jane.get(SECRETS).await.expect(200);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": "ann", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let answer =
        server.admin().post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await.expect(201);
    assert_eq!(answer["status"], json!({"allowed": false, "reason": "who is that?"}));
    assert_eq!(sink.next().await["spec"]["user"], "ann", "jane's second list was not asked about");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_decides_as_its_policy_says() {
    let sink = Sink::answering(|_path, _body| (400, json!({}))).await;
    for denies in [false, true] {
        let server = server(WebhookConfig { failure_denies: denies, ..webhook(&sink) }).await;
        let answer = server.user("jane", &[]).get(SECRETS).await;
        assert_eq!(answer.code, 500, "as upstream: an error, not a refusal");
        assert!(
            answer.json()["message"].as_str().unwrap().contains("the webhook answered 400"),
            "{answer:?}"
        );
        let metrics = server.admin().get("/metrics").await;
        let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
        let line =
            "apiserver_authorization_webhook_evaluations_fail_open_total{name=\"other\",result=\"error\"} 1";
        assert_eq!(text.contains(line), !denies, "{text}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_spare_the_webhook_what_is_not_its_own() {
    let sink = Sink::answering(|_path, body| (200, says(body))).await;
    let conditions = ["has(request.resourceAttributes)", "request.resourceAttributes.namespace == 'team'"];
    let conditions = Conditions::compile(&conditions.map(str::to_owned)).unwrap();
    let server = server(WebhookConfig { conditions, ..webhook(&sink) }).await;
    let jane = server.user("jane", &[]);
    assert_eq!(jane.get(SECRETS).await.code, 403);
    assert_eq!(jane.get("/metrics").await.code, 403);
    jane.get("/api/v1/namespaces/team/secrets").await.expect(200);
    assert_eq!(sink.next().await["spec"]["resourceAttributes"]["namespace"], "team");
    server.stop().await;
}

/// Waits until the metrics have this line.
async fn metric(server: &TestServer, line: &str) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let metrics = server.admin().get("/metrics").await;
        let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
        if text.contains(line) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{line} in {text}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_read_again_when_its_file_changes() {
    const RELOADS: &str = "apiserver_authorization_config_controller_automatic_reloads_total";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("authorization.yaml");
    let text = |more: &str| {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n\
             - {{type: Node, name: node}}\n- {{type: RBAC, name: rbac}}\n{more}"
        )
    };
    let file = ConfigFile { path: path.clone(), text: text("") };
    std::fs::write(&path, &file.text).unwrap();
    let server = TestServer::configured(move |config| {
        config.authorization = AuthorizationConfig { file: Some(file), ..AuthorizationConfig::default() };
    })
    .await;
    let line = |status: &str, count: u32, id: &str| {
        format!("{RELOADS}{{apiserver_id_hash=\"{id}\",status=\"{status}\"}} {count}\n")
    };
    let metrics = String::from_utf8_lossy(&server.admin().get("/metrics").await.bytes).into_owned();
    let info = "apiserver_authorization_config_controller_last_config_info{apiserver_id_hash=\"";
    let id = metrics.split_once(info).and_then(|(_, rest)| rest.split_once('"')).unwrap().0;
    let jane = server.user("jane", &[]);
    assert_eq!(jane.get(SECRETS).await.code, 403);

    // Written beside and moved over it, as editors do.
    let replace = |text: &str| {
        let beside = dir.path().join("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, &path).unwrap();
    };
    replace(&text("- {type: AlwaysAllow, name: alwaysallow}\n"));
    metric(&server, &line("success", 1, id)).await;
    jane.get(SECRETS).await.expect(200);

    replace("authorizers: [");
    metric(&server, &line("failure", 1, id)).await;
    jane.get(SECRETS).await.expect(200);
    std::fs::write(&path, text("").replace("- {type: RBAC, name: rbac}\n", "")).unwrap();
    metric(&server, &format!("{RELOADS}{{apiserver_id_hash=\"{id}\",status=\"failure\"}} ")).await;
    jane.get(SECRETS).await.expect(200);

    replace(&text(""));
    metric(&server, &line("success", 2, id)).await;
    assert_eq!(jane.get(SECRETS).await.code, 403);
    server.stop().await;
}
