//! Every row of `tests/data/auth-bad-inputs.tsv` against a running server.

use http::Method;
use mainstay_apiserver_server::authn::SigningKeys;
use mainstay_apiserver_server::authn::token::{Claims, KubernetesClaims, ObjectRef};
use mainstay_base::pki::generate_key_pem;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::streams::{raw, upgrade};
use super::{grant, kubelet, pod, service_account};
use crate::client::{Answer, Client, DEADLINE};
use crate::server::TestServer;

const ROWS: &str = include_str!("../../data/auth-bad-inputs.tsv");
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// What one try of a row was answered: what it was, code and reason.
type Tried = (String, u16, String);

fn tried(what: &str, answer: &Answer) -> Tried {
    let reason = if answer.bytes.starts_with(b"{") { answer.reason() } else { String::new() };
    (what.to_owned(), answer.code, reason)
}

/// Checks the tries of a row against its codes and reasons.
fn check(id: &str, tries: &[Tried]) {
    let row = ROWS.lines().find(|row| row.starts_with(id)).unwrap_or_else(|| panic!("no row {id}"));
    let columns: Vec<&str> = row.split('\t').collect();
    let codes: Vec<u16> = columns[3].split(',').map(|code| code.parse().unwrap()).collect();
    let reasons: Vec<&str> = columns[4].split(',').collect();
    assert!(!tries.is_empty());
    for (what, code, reason) in tries {
        assert!(codes.contains(code), "{id} {what}: {code}");
        assert!(reason.is_empty() || reasons.contains(&reason.as_str()), "{id} {what}: {reason}");
    }
}

#[test]
fn every_row_has_a_test() {
    let source = include_str!("bad_inputs.rs");
    for id in ROWS.lines().skip(1).filter_map(|row| row.split('\t').next()) {
        assert!(source.contains(&format!("\"{id}\",")), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b062_b067_without_credentials_nothing_helps() {
    let server = TestServer::configured(|config| config.anonymous = false).await;
    let client = server.anonymous();
    let mut tries = Vec::new();
    for path in ["/api", "/livez", "/version", "/api/v1/pods"] {
        tries.push(tried(path, &client.get(path).await));
    }
    check("B062", &tries);
    let headers = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
    check("B067", &[tried("headers", &client.call(Method::GET, "/api/v1/pods", &headers, "").await)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b064_b065_bad_tokens() {
    let key = generate_key_pem().unwrap();
    let pem = key.clone().into_bytes();
    let server = TestServer::configured(|config| config.service_account.signing_key_pem = pem).await;
    let admin = server.admin();
    service_account(&admin, "default", "bot").await;
    let uid =
        admin.get("/api/v1/namespaces/default/serviceaccounts/bot").await.expect(200)["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_owned();
    let keys = SigningKeys::new(key.as_bytes(), &[]).unwrap();
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let good = || Claims {
        aud: vec!["https://kubernetes.default.svc.cluster.local".to_owned()],
        exp: now + 600,
        iat: now,
        iss: "https://kubernetes.default.svc.cluster.local".to_owned(),
        jti: "j".to_owned(),
        kubernetes: KubernetesClaims {
            namespace: "default".to_owned(),
            serviceaccount: ObjectRef { name: "bot".to_owned(), uid: uid.clone() },
            ..KubernetesClaims::default()
        },
        nbf: now,
        sub: "system:serviceaccount:default:bot".to_owned(),
    };
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        server.anonymous().call(Method::GET, "/version", &[("authorization", &bearer)], "").await
    };
    assert_eq!(ask(&keys.sign(&good()).unwrap()).await.code, 200);
    let mut tries = Vec::new();
    for (what, claims) in [
        ("expired", Claims { exp: now - 1, ..good() }),
        ("not yet", Claims { nbf: now + 120, ..good() }),
        ("audience", Claims { aud: vec!["vault".to_owned()], ..good() }),
        ("issuer", Claims { iss: "https://elsewhere".to_owned(), ..good() }),
    ] {
        tries.push(tried(what, &ask(&keys.sign(&claims).unwrap()).await));
    }
    check("B064", &tries);
    let mut tries = Vec::new();
    for (what, token) in forged(&keys.sign(&good()).unwrap()) {
        tries.push(tried(&what, &ask(&token).await));
    }
    check("B065", &tries);
    server.stop().await;
}

/// Variants of a good token with other headers.
fn forged(token: &str) -> Vec<(String, String)> {
    use base64::Engine as _;
    let encode = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let parts: Vec<&str> = token.split('.').collect();
    [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "ES256", "kid": "../../key"}),
        json!({"alg": "ES256", "jku": "http://127.0.0.1:1/jwks", "x5u": "http://127.0.0.1:1/x5u"}),
    ]
    .iter()
    .map(|header| {
        let signature = if header["alg"] == "none" { "" } else { parts[2] };
        (header.to_string(), format!("{}.{}.{signature}", encode(header), parts[1]))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn b068_impersonation_without_the_right() {
    let server = TestServer::start().await;
    let jane = server.user("jane", &[]);
    let mut tries = Vec::new();
    for headers in [
        &[("impersonate-user", "admin")][..],
        &[("impersonate-user", "jane"), ("impersonate-group", "system:masters")],
        &[("impersonate-uid", "1")],
    ] {
        tries.push(tried(headers[0].0, &jane.call(Method::GET, "/version", headers, "").await));
    }
    check("B068", &tries);
    server.stop().await;
}

/// A user who may write roles and bindings, but holds nothing else.
async fn author(server: &TestServer) -> Client {
    let resources = json!(["clusterroles", "clusterrolebindings", "roles", "rolebindings"]);
    let rule = json!([{"verbs": ["create", "get", "update", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": resources}]);
    grant(&server.admin(), "author", rule).await;
    server.user("author", &[])
}

fn role(kind: &str, name: &str, rules: &Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules})
}

#[tokio::test(flavor = "multi_thread")]
async fn b070_b071_b073_escalation() {
    let server = TestServer::start().await;
    let author = author(&server).await;
    let secrets = || json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]);
    let mut tries = Vec::new();
    let answer =
        author.post(&format!("{RBAC}/namespaces/default/roles"), &role("Role", "r", &secrets())).await;
    tries.push(tried("role", &answer));
    let answer = author.post(&format!("{RBAC}/clusterroles"), &role("ClusterRole", "r", &secrets())).await;
    tries.push(tried("cluster role", &answer));
    author.post(&format!("{RBAC}/clusterroles"), &role("ClusterRole", "empty", &json!([]))).await.expect(201);
    let answer =
        author.patch(&format!("{RBAC}/clusterroles/empty"), "merge", &json!({"rules": secrets()})).await;
    tries.push(tried("patched rules", &answer));
    check("B070", &tries);

    let binding = |kind: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "mine"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "author"}]
        })
    };
    let wide = author.post(&format!("{RBAC}/clusterrolebindings"), &binding("ClusterRoleBinding")).await;
    let narrow =
        author.post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding("RoleBinding")).await;
    check("B071", &[tried("cluster", &wide), tried("namespace", &narrow)]);

    let label = json!({"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}});
    let labelled =
        author.patch(&format!("{RBAC}/clusterroles/system:kube-controller-manager"), "merge", &label).await;
    let rule = json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"}}]}});
    let selecting = author.patch(&format!("{RBAC}/clusterroles/empty"), "merge", &rule).await;
    check("B073", &[tried("label", &labelled), tried("selector", &selecting)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b074_get_is_not_create() {
    let server = TestServer::start().await;
    kubelet::start(&server).await;
    let resources = json!(["pods/exec", "pods/attach", "pods/portforward", "pods"]);
    grant(&server.admin(), "reader", json!([{"verbs": ["get"], "apiGroups": [""], "resources": resources}]))
        .await;
    grant(&server.admin(), "lister", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]))
        .await;
    let mut tries = Vec::new();
    for user in ["reader", "lister"] {
        for action in ["exec?command=ls&stdout=1", "attach?stdout=1", "portforward?ports=80"] {
            let path = format!("/api/v1/namespaces/default/pods/p/{action}");
            let (head, _stream) = raw(&server.user(user, &[]), &upgrade("GET", &path)).await;
            tries.push((format!("{user} {action}"), code(&head), String::new()));
        }
    }
    check("B074", &tries);
    server.stop().await;
}

fn code(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn b076_no_proxy_into_the_control_plane() {
    let server = TestServer::start().await;
    let seen = kubelet::start(&server).await;
    let admin = server.admin();
    let mut tries = Vec::new();
    for (at, address) in ["127.0.0.1", "169.254.169.254"].iter().enumerate() {
        let name = format!("aim{at}");
        admin
            .post("/api/v1/namespaces/default/pods", &pod(&name, &json!({"nodeName": "n1"})))
            .await
            .expect(201);
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
        admin
            .patch(&format!("/api/v1/namespaces/default/pods/{name}/status"), "merge", &status)
            .await
            .expect(200);
        let answer = admin.get(&format!("/api/v1/namespaces/default/pods/{name}:80/proxy/")).await;
        tries.push(tried(&format!("pod {address}"), &answer));
    }
    tries.push(tried("node port", &admin.get("/api/v1/nodes/n1:22/proxy/").await));
    let redirect = admin.get("/api/v1/nodes/n1/proxy/redirect").await;
    assert_eq!(redirect.code, 302);
    tries.push(tried("redirect", &redirect));
    check("B076", &tries);
    assert_eq!(*seen.lock(), ["/redirect"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b077_a_refused_upgrade_leaves_no_tunnel() {
    let server = TestServer::start().await;
    let seen = kubelet::start(&server).await;
    let path = "/api/v1/namespaces/default/pods/p/exec?command=refuse&stdout=1";
    let (head, mut stream) = raw(&server.admin(), &upgrade("POST", path)).await;
    check("B077", &[("refused".to_owned(), code(&head), String::new())]);
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
    // The connection may already be closed under this write; what counts is that nothing reaches the agent.
    drop(stream.write_all(b"GET /pods HTTP/1.1\r\nhost: n1\r\n\r\n").await);
    let mut rest = Vec::new();
    drop(tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the connection closes"));
    assert_eq!(seen.lock().len(), 1, "{:?}", seen.lock());
    server.stop().await;
}

/// Two nodes, each with a pod: `on-a` refers to Secret `mine`, `on-b` to Secret `theirs`.
async fn two_nodes(server: &TestServer) -> Client {
    let admin = server.admin();
    service_account(&admin, "default", "default").await;
    service_account(&admin, "default", "other").await;
    for (node, secret) in [("a", "mine"), ("b", "theirs")] {
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        admin.post("/api/v1/nodes", &object).await.expect(201);
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}});
        admin.post("/api/v1/namespaces/default/secrets", &object).await.expect(201);
        let volumes = json!([{"name": "s", "secret": {"secretName": secret}}]);
        let object = pod(&format!("on-{node}"), &json!({"nodeName": node, "volumes": volumes}));
        admin.post("/api/v1/namespaces/default/pods", &object).await.expect(201);
    }
    server.user("system:node:a", &["system:nodes"])
}

#[tokio::test(flavor = "multi_thread")]
async fn b079_b082_a_node_writes_about_itself_only() {
    let server = TestServer::start().await;
    let node = two_nodes(&server).await;
    let pods = "/api/v1/namespaces/default/pods";
    let status = json!({"status": {"phase": "Failed"}});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "on-b"}});
    check(
        "B079",
        &[
            tried("status", &node.patch(&format!("{pods}/on-b/status"), "merge", &status).await),
            tried("delete", &node.delete(&format!("{pods}/on-b")).await),
            tried("evict", &node.post(&format!("{pods}/on-b/eviction"), &eviction).await),
        ],
    );
    assert_eq!(node.patch(&format!("{pods}/on-a/status"), "merge", &status).await.code, 200);
    let mirror = |node: &str, spec: &Value| {
        let mut mirror = pod("m", spec);
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        mirror["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": "u"}]);
        mirror["spec"]["nodeName"] = json!(node);
        mirror
    };
    let secret = json!({"volumes": [{"name": "s", "secret": {"secretName": "mine"}}]});
    check(
        "B082",
        &[
            tried("plain", &node.post(pods, &pod("m", &json!({"nodeName": "a"}))).await),
            tried("other node", &node.post(pods, &mirror("b", &json!({}))).await),
            tried("secret", &node.post(pods, &mirror("a", &secret)).await),
            tried("account", &node.post(pods, &mirror("a", &json!({"serviceAccountName": "default"}))).await),
        ],
    );
    node.post(pods, &mirror("a", &json!({}))).await.expect(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b080_b083_a_node_reads_for_its_pods_only() {
    let server = TestServer::start().await;
    let node = two_nodes(&server).await;
    let core = "/api/v1/namespaces/default";
    node.get(&format!("{core}/secrets/mine")).await.expect(200);
    node.get(&format!("{core}/secrets?fieldSelector=metadata.name%3Dmine")).await.expect(200);
    node.get(&format!("{core}/services")).await.expect(200);
    let mut tries = Vec::new();
    for path in [
        "secrets/theirs",
        "secrets",
        "secrets?watch=1",
        "secrets?fieldSelector=metadata.name%3Dtheirs",
        "configmaps/none",
    ] {
        tries.push(tried(path, &node.get(&format!("{core}/{path}")).await));
    }
    tries.push(tried("all secrets", &node.get("/api/v1/secrets").await));
    check("B080", &tries);

    let uid = async |name: &str| {
        let pod = server.admin().get(&format!("{core}/pods/{name}")).await.expect(200);
        pod["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let request = |pod: &str, uid: &str, audiences: Value| {
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "audiences": audiences,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
        }})
    };
    let (on_a, on_b) = (uid("on-a").await, uid("on-b").await);
    let token = format!("{core}/serviceaccounts/default/token");
    node.post(&token, &request("on-a", &on_a, json!([]))).await.expect(201);
    let other = format!("{core}/serviceaccounts/other/token");
    check(
        "B083",
        &[
            tried("other account", &node.post(&other, &request("on-a", &on_a, json!([]))).await),
            tried("other node's pod", &node.post(&token, &request("on-b", &on_b, json!([]))).await),
            tried("audience", &node.post(&token, &request("on-a", &on_a, json!(["vault"]))).await),
        ],
    );
    server.stop().await;
}
