//! What a request of kubectl or of the Python client passes on its way, seen by that client: who it is by a token of an
//! issuer, the audit log, flow control, mutating policies and conversion by a webhook.

use mainstay_apiserver_server::authn::jwt::AuthenticationConfig;
use mainstay_base::pki::Usage;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::client::DEADLINE;
use crate::custom::{answered, endpoints, install};
use crate::kubectl::Kubectl;
use crate::kubectl_rules::{apply, refused, until};
use crate::other_clients::run_with;
use crate::security::{Issuer, Log};
use crate::server::{TestServer, leaf};
use crate::tls_peer::Peer;

/// A level without a seat, and a schema that leads what jane asks about objects there.
fn jail() -> [Value; 2] {
    let group = "flowcontrol.apiserver.k8s.io/v1";
    [
        json!({"apiVersion": group, "kind": "PriorityLevelConfiguration", "metadata": {"name": "jail"}, "spec": {
            "type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"}}}}),
        json!({"apiVersion": group, "kind": "FlowSchema", "metadata": {"name": "jail"}, "spec": {
            "priorityLevelConfiguration": {"name": "jail"}, "matchingPrecedence": 50, "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "jane"}}], "resourceRules": [{"verbs": ["*"],
                "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}}),
    ]
}

const TURNED_AWAY: &str = r#"
from kubernetes import client, config
config.load_kube_config()
settings = client.Configuration.get_default_copy()
settings.retries = False
try:
    client.CoreV1Api(client.ApiClient(settings)).list_namespaced_config_map("default")
except client.exceptions.ApiException as error:
    print(error.status, error.headers["Retry-After"], error.body.strip())
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_level_that_is_full_turns_clients_away_who_wait_as_they_are_told() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let admin = Kubectl::new(&server, home.path());
    let jane = Kubectl::of(&server, home.path(), "jane", &leaf(&server.ca, "jane", &[], Usage::Client));
    let view = ["create", "clusterrolebinding", "jane", "--clusterrole=view", "--user=jane"];
    admin.run(&view, "").await.ok();
    apply(&admin, &jail()).await;
    let found = ["wait", "flowschema/jail", "--for=condition=Dangling=False", "--timeout=15s"];
    admin.run(&found, "").await.ok();
    let shown = admin.run(&["get", "flowschema", "jail", "--no-headers"], "").await.ok();
    let words: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(words[..4], ["jail", "jail", "50", "ByUser"], "{shown}");
    let client = server.user("jane", &[]);
    let path = "/api/v1/namespaces/default/configmaps";
    until("the schema is followed", async || client.get(path).await.code == 429).await;

    let said = run_with("MAINSTAY_TEST_PYTHON", jane.config(), &["-c", TURNED_AWAY]).await;
    assert_eq!(said, "429 1 Too many requests, please try again later.\n");
    // kubectl tries again by itself; what is exempt is served meanwhile, and makes room.
    let mut waits = jane.spawn(&["get", "configmaps", "-v=6"]);
    let mut told = BufReader::new(waits.stderr.take().unwrap()).lines();
    let is_told = async {
        while let Some(line) = told.next_line().await.unwrap() {
            if line.contains("Retry-After") || line.contains("retryAfter") {
                return;
            }
        }
        panic!("kubectl ended without a word of waiting");
    };
    tokio::time::timeout(DEADLINE, is_told).await.expect("kubectl is told to wait");
    let room = [
        "patch",
        "prioritylevelconfiguration",
        "jail",
        "--type=merge",
        "-p",
        r#"{"spec":{"limited":{"nominalConcurrencyShares":30}}}"#,
    ];
    admin.run(&room, "").await.ok();
    let rest = async { while told.next_line().await.unwrap().is_some() {} };
    let (ended, ()) = tokio::join!(tokio::time::timeout(DEADLINE, waits.wait()), rest);
    assert!(ended.expect("in time").unwrap().success(), "kubectl gets its answer in the end");
    let levels = "/debug/api_priority_and_fairness/dump_priority_levels";
    let levels = admin.run(&["get", "--raw", levels], "").await.ok();
    assert!(levels.lines().any(|line| line.starts_with("jail,")), "{levels}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_creates_is_changed_by_a_mutating_policy() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let group = "admissionregistration.k8s.io/v1";
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]});
    let expression = "Object{metadata: Object.metadata{labels: {'team': params.data.team}}}";
    apply(
        &kubectl,
        &[
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "params", "namespace": "kube-system"}, "data": {"team": "blue"}}),
            json!({"apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": {"name": "teams"}, "spec": {
                "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
                "matchConstraints": {"resourceRules": [rule], "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}},
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]}}),
            json!({"apiVersion": group, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "teams"}, "spec": {
                "policyName": "teams", "paramRef": {"name": "params", "namespace": "kube-system", "parameterNotFoundAction": "Deny"}}}),
        ],
    )
    .await;
    let label = "-o=jsonpath={.metadata.labels.team}";
    let tried = ["create", "configmap", "m", "--dry-run=server", label];
    until("the policy acts", async || kubectl.run(&tried, "").await.out == "blue").await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}, "data": {"k": "1"}});
    kubectl.run(&["apply", "--server-side", "-f", "-"], &map.to_string()).await.ok();
    assert_eq!(kubectl.run(&["get", "configmap", "m", label], "").await.ok(), "blue");
    // A second apply changes nothing: the policy writes what is there.
    let again = kubectl.run(&["diff", "--server-side", "-f", "-"], &map.to_string()).await;
    assert_eq!((again.code, again.out.as_str()), (0, ""), "{}", again.err);
    kubectl.run(&["delete", "configmap", "params", "-n", "kube-system"], "").await.ok();
    let why =
        "policy 'teams' with binding 'teams' denied request: failed to configure binding: no params found";
    until("the parameters are gone", async || kubectl.run(&tried, "").await.err.contains(why)).await;
    let wrong = json!({"apiVersion": group, "kind": "MutatingAdmissionPolicy", "metadata": {"name": "wrong"}, "spec": {
        "matchConstraints": {"resourceRules": [rule]}, "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "Object{}"}}]}});
    let said = refused(&kubectl, &["create", "-f", "-"], &wrong.to_string()).await;
    assert!(said.contains("must evaluate to list(JSONPatch) but got Object"), "{said}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_writes_one_version_and_reads_another_that_a_webhook_makes() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let peer = Peer::start(&server, |asked| answered(&asked.json())).await;
    install(&server.admin(), &endpoints(&peer, "v1")).await;
    let object = |version: &str, name: &str, spec: Value| {
        json!({"apiVersion": format!("conv.example.com/{version}"), "kind": "Endpoint",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": spec})
        .to_string()
    };
    let two = object("v2", "two", json!({"hostPort": "two.example.com:2"}));
    kubectl
        .run(&["apply", "-f", "-"], &object("v1", "one", json!({"host": "one.example.com", "port": 1})))
        .await
        .ok();
    assert_eq!(
        kubectl.run(&["apply", "-f", "-"], &two).await.ok(),
        "endpoint.conv.example.com/two created\n"
    );
    assert_eq!(
        kubectl.run(&["apply", "-f", "-"], &two).await.ok(),
        "endpoint.conv.example.com/two unchanged\n"
    );
    let read = async |resource: &str, path: &str| {
        kubectl.run(&["get", resource, "-o", &format!("jsonpath={path}")], "").await.ok()
    };
    let v1 = read("endpoints.v1.conv.example.com", "{.items[*].spec.host} {.items[*].spec.port}").await;
    assert_eq!(v1, "one.example.com two.example.com 1 2");
    let v2 = read("endpoints.v2.conv.example.com", "{.items[*].spec.hostPort}").await;
    assert_eq!(v2, "one.example.com:1 two.example.com:2");
    let shown = kubectl.run(&["get", "endpoints.v2.conv.example.com", "--no-headers"], "").await.ok();
    assert!(shown.contains("two.example.com:2"), "columns are of the version that is shown: {shown}");
    let explain = ["explain", "endpoints.spec", "--api-version=conv.example.com/v2"];
    let explained = kubectl.run(&explain, "").await.ok();
    assert!(explained.contains("hostPort\t<string>"), "{explained}");
    server.stop().await;
}

const WHO: &str = r"
from kubernetes import client, config
config.load_kube_config()
review = client.AuthenticationV1Api().create_self_subject_review(client.V1SelfSubjectReview())
print(review.status.user_info.username, *review.status.user_info.groups)
";

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_who_their_issuers_token_says() {
    let issuer = Issuer::start().await;
    let text = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [{
        "issuer": {"url": issuer.url, "audiences": ["cluster"], "certificateAuthority": issuer.ca_pem},
        "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"expression": "claims.teams.map(t, 'team:' + t)"}}}]});
    let configuration = AuthenticationConfig::parse(&text.to_string(), &[]).unwrap();
    let server = TestServer::configured(|config| config.authentication.configuration = configuration).await;
    let home = tempfile::tempdir().unwrap();
    let admin = Kubectl::new(&server, home.path());
    let devs = ["create", "clusterrolebinding", "devs", "--clusterrole=view", "--group=team:devs"];
    admin.run(&devs, "").await.ok();
    let jane = Kubectl::with_token(&server, home.path(), &issuer.token(&[]));
    let who = jane.run(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"], "").await.ok();
    assert_eq!(who, "oidc:jane");
    let said = run_with("MAINSTAY_TEST_PYTHON", jane.config(), &["-c", WHO]).await;
    assert_eq!(said, "oidc:jane team:devs system:authenticated\n");
    until("the right is known", async || jane.run(&["get", "configmaps"], "").await.code == 0).await;
    let said = refused(&jane, &["create", "configmap", "m"], "").await;
    assert!(said.contains("User \"oidc:jane\" cannot create resource \"configmaps\""), "{said}");
    let late = Kubectl::with_token(&server, home.path(), &issuer.token(&[("exp", json!(1_000_000_000))]));
    let said = refused(&late, &["get", "configmaps"], "").await;
    assert!(said.contains("You must be logged in to the server"), "{said}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_acts_as_another_for_what_it_may_do_as_another() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let admin = Kubectl::new(&server, home.path());
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": "acts"}, "rules": [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "resourceNames": ["jane"], "verbs": ["impersonate:user-info"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["impersonate-on:user-info:list"]}]});
    let bind = |name: &str, role: &str| {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": name}]})
    };
    apply(&admin, &[role, bind("joe", "acts"), bind("jane", "view")]).await;
    let joe = Kubectl::of(&server, home.path(), "joe", &leaf(&server.ca, "joe", &[], Usage::Client));
    let list = ["get", "configmaps", "--as=jane"];
    until("joe lists as jane", async || joe.run(&list, "").await.code == 0).await;
    let said = refused(&joe, &["get", "configmaps"], "").await;
    assert!(
        said.contains("User \"joe\" cannot list resource \"configmaps\""),
        "the right is jane's alone: {said}"
    );
    let said = refused(&joe, &["get", "pods", "--as=jane"], "").await;
    assert!(
        said.contains(
            "User \"joe\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\""
        ),
        "{said}"
    );
    let said = refused(&joe, &["get", "configmaps", "--as=root"], "").await;
    assert!(said.contains("User \"joe\" cannot impersonate:user-info resource \"users\""), "{said}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_what_kubectl_did() {
    let log = Log::new();
    let server = TestServer::configured(|config| config.audit = Some(log.config())).await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    kubectl.run(&["create", "configmap", "told", "--from-literal=k=v"], "").await.ok();
    let said = refused(&kubectl, &["get", "secrets", "--as=jane", "--as-group=devs"], "").await;
    assert!(said.contains("User \"jane\" cannot list resource \"secrets\""), "{said}");
    let told = |verb: &str, resource: &str| {
        log.all().into_iter().find(|event| {
            let complete = event["stage"] == "ResponseComplete" && event["verb"] == verb;
            complete && event["objectRef"]["resource"] == resource
        })
    };
    until("both are told", async || {
        told("create", "configmaps").is_some() && told("list", "secrets").is_some()
    })
    .await;
    let made = told("create", "configmaps").unwrap();
    assert!(made["userAgent"].as_str().unwrap().starts_with("kubectl/"), "{made}");
    assert_eq!((&made["user"]["username"], &made["level"]), (&json!("admin"), &json!("RequestResponse")));
    assert_eq!(
        (&made["requestObject"]["data"]["k"], &made["responseStatus"]["code"]),
        (&json!("v"), &json!(201))
    );
    let denied = told("list", "secrets").unwrap();
    assert_eq!(denied["impersonatedUser"]["username"], "jane");
    assert_eq!(denied["impersonatedUser"]["groups"], json!(["devs", "system:authenticated"]));
    assert_eq!(denied["annotations"]["authorization.k8s.io/decision"], "forbid");
    server.stop().await;
}
