//! What a person meets with kubectl when rules apply: rights, admission, policies, rules of definitions, extension servers,
//! secrets at rest, pages and watches. One server for all of a test.

use mainstay_apiserver_server::encryption::EncryptionConfig;
use serde_json::{Value, json};

use crate::aggregation::{available, extension, register};
use crate::client::DEADLINE;
use crate::custom::{definition, install, version};
use crate::kubectl::Kubectl;
use crate::server::TestServer;
use crate::tls_peer::Peer;

pub(crate) async fn apply(kubectl: &Kubectl<'_>, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    kubectl.run(&["apply", "-f", "-"], &list.to_string()).await.ok();
}

/// What kubectl says when it is refused.
pub(crate) async fn refused(kubectl: &Kubectl<'_>, arguments: &[&str], input: &str) -> String {
    let said = kubectl.run(arguments, input).await;
    assert_ne!(said.code, 0, "{arguments:?} is refused: {}", said.out);
    said.err
}

/// Tries until what is said holds: policies and rights reach the request path a moment after they are stored.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_is_told_what_limits_quotas_pod_security_and_policies_refuse() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let meta = |name: &str| json!({"name": name, "namespace": "default"});
    apply(
        &kubectl,
        &[
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("default")}),
            json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta("limits"), "spec": {"limits": [
                {"type": "Container", "default": {"cpu": "200m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}]}}),
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta("few"), "spec": {"hard": {"count/configmaps": "1"}}}),
        ],
    )
    .await;
    kubectl.run(&["run", "small", "--image=x"], "").await.ok();
    let cpu = "-o=jsonpath={.spec.containers[0].resources.limits.cpu}";
    assert_eq!(
        kubectl.run(&["get", "pod", "small", cpu], "").await.ok(),
        "200m",
        "a limit that nobody asked for"
    );
    let large = r#"--overrides={"spec":{"containers":[{"name":"large","image":"x","resources":{"limits":{"cpu":"2"}}}]}}"#;
    let said = refused(&kubectl, &["run", "large", "--image=x", large], "").await;
    assert!(said.contains("maximum cpu usage per Container is 1, but limit is 2"), "{said}");
    kubectl.run(&["create", "configmap", "one"], "").await.ok();
    let said = refused(&kubectl, &["create", "configmap", "two"], "").await;
    assert!(said.contains("exceeded quota: few, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"), "{said}");

    let levels =
        ["pod-security.kubernetes.io/enforce=baseline", "pod-security.kubernetes.io/warn=restricted"];
    kubectl.run(&[&["label", "namespace", "default"][..], &levels].concat(), "").await.ok();
    let warned = kubectl.run(&["run", "warned", "--image=x"], "").await;
    assert!(
        warned.code == 0 && warned.err.contains("Warning: would violate PodSecurity \"restricted:latest\""),
        "{}",
        warned.err
    );
    let said = refused(&kubectl, &["run", "root", "--image=x", "--privileged"], "").await;
    assert!(said.contains("violates PodSecurity \"baseline:latest\": privileged"), "{said}");

    let rule =
        json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]});
    apply(
        &kubectl,
        &[
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "named"},
                "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [
                    {"expression": "object.metadata.name.startsWith('team-')", "message": "begin with team-"}]}}),
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "named"},
                "spec": {"policyName": "named", "validationActions": ["Deny"]}}),
        ],
    )
    .await;
    let tried = ["create", "secret", "generic", "mine", "--dry-run=server"];
    until("the policy holds", async || {
        kubectl.run(&tried, "").await.err.contains("denied request: begin with team-")
    })
    .await;
    kubectl.run(&["create", "secret", "generic", "team-a"], "").await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_asks_grants_and_uses_rights() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    assert!(kubectl.run(&["auth", "whoami"], "").await.ok().contains("admin"));
    let can = async |what: &[&str]| {
        kubectl.run(&[&["auth", "can-i"][..], what, &["--as=jane"]].concat(), "").await.out
    };
    assert!(can(&["list", "pods"]).await.starts_with("no"));
    kubectl.run(&["create", "role", "reader", "--verb=get,list", "--resource=pods"], "").await.ok();
    kubectl.run(&["create", "rolebinding", "jane", "--role=reader", "--user=jane"], "").await.ok();
    until("the right is known", async || can(&["list", "pods"]).await.starts_with("yes")).await;
    let said = refused(&kubectl, &["get", "secrets", "--as=jane"], "").await;
    assert!(
        said.contains(
            "User \"jane\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\""
        ),
        "{said}"
    );
    kubectl
        .run(&["create", "role", "maker", "--verb=create", "--resource=roles.rbac.authorization.k8s.io"], "")
        .await
        .ok();
    kubectl.run(&["create", "rolebinding", "maker", "--role=maker", "--user=jane"], "").await.ok();
    until("the right is known", async || can(&["create", "roles"]).await.starts_with("yes")).await;
    let more = ["create", "role", "more", "--verb=delete", "--resource=secrets", "--as=jane"];
    let said = refused(&kubectl, &more, "").await;
    assert!(said.contains("is attempting to grant RBAC permissions not currently held"), "{said}");

    kubectl.run(&["create", "serviceaccount", "robot"], "").await.ok();
    kubectl
        .run(&["create", "rolebinding", "robot", "--role=reader", "--serviceaccount=default:robot"], "")
        .await
        .ok();
    let token = kubectl.run(&["create", "token", "robot"], "").await.ok();
    let as_robot = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("https://{}", server.server.local_addr()), "insecure-skip-tls-verify": true}}],
        "users": [{"name": "u", "user": {"token": token.trim()}}]});
    std::fs::write(home.path().join("robot"), as_robot.to_string()).unwrap();
    let file = home.path().join("robot");
    let robot = ["--kubeconfig", file.to_str().unwrap()];
    until("the robot lists pods", async || {
        kubectl.run(&[&robot[..], &["get", "pods"]].concat(), "").await.code == 0
    })
    .await;
    let said = refused(&kubectl, &[&robot[..], &["get", "nodes"]].concat(), "").await;
    assert!(
        said.contains("User \"system:serviceaccount:default:robot\" cannot list resource \"nodes\""),
        "{said}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_meets_rules_columns_and_scales_of_definitions() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "string", "maxLength": 10, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "size is immutable"}]},
            "replicas": {"type": "integer", "minimum": 0, "maximum": 9, "default": 1}},
            "x-kubernetes-validations": [{"rule": "self.size != 'XXL' || self.replicas < 3", "message": "few of the large ones"}]},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}});
    let mut v1 = version("v1", &schema);
    v1["subresources"] = json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}});
    v1["additionalPrinterColumns"] = json!([{"name": "Size", "type": "string", "jsonPath": ".spec.size"}]);
    v1["selectableFields"] = json!([{"jsonPath": ".spec.size"}]);
    let mut crd = definition("shop.example.com", "Shirt", "Namespaced", &json!([v1]));
    crd["spec"]["names"]["shortNames"] = json!(["sh"]);
    crd["spec"]["names"]["categories"] = json!(["wardrobe"]);
    install(&server.admin(), &crd).await;
    let shirt = |name: &str, size: &str, replicas: i64| {
        json!({"apiVersion": "shop.example.com/v1", "kind": "Shirt", "metadata": {"name": name}, "spec": {"size": size, "replicas": replicas}}).to_string()
    };
    let create = ["create", "-f", "-"];
    let said = refused(&kubectl, &create, &shirt("a", "XXL", 5)).await;
    assert!(said.contains("few of the large ones"), "{said}");
    let said = refused(&kubectl, &create, &shirt("a", "S", 10)).await;
    assert!(
        said.contains(
            "spec.replicas: Invalid value: 10: spec.replicas in body should be less than or equal to 9"
        ),
        "{said}"
    );
    let said = refused(&kubectl, &create, &shirt("a", "S", 1).replace("\"size\"", "\"sise\"")).await;
    assert!(said.contains("unknown field \"spec.sise\""), "kubectl asks for strict checks: {said}");
    for (name, size) in [("a", "S"), ("b", "L"), ("c", "L")] {
        kubectl.run(&create, &shirt(name, size, 1)).await.ok();
    }
    let patch = r#"{"spec":{"size":"L"}}"#;
    let said = refused(&kubectl, &["patch", "sh", "a", "--type=merge", "-p", patch], "").await;
    assert!(said.contains("size is immutable"), "{said}");
    kubectl.run(&["scale", "shirt/a", "--replicas=3"], "").await.ok();
    assert_eq!(kubectl.run(&["get", "shirt", "a", "-o=jsonpath={.spec.replicas}"], "").await.ok(), "3");
    let shown = kubectl.run(&["get", "wardrobe", "--chunk-size=1"], "").await.ok();
    let lines: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(lines, [["NAME", "SIZE"], ["a", "S"], ["b", "L"], ["c", "L"]]);
    let large = kubectl.run(&["get", "shirts", "--field-selector=spec.size=L", "-o", "name"], "").await.ok();
    assert_eq!(large, "shirt.shop.example.com/b\nshirt.shop.example.com/c\n");
    let status = r#"{"status":{"replicas":2}}"#;
    kubectl
        .run(&["patch", "shirt", "a", "--subresource=status", "--type=merge", "-p", status], "")
        .await
        .ok();
    assert_eq!(
        kubectl
            .run(&["get", "shirt", "a", "--subresource=status", "-o=jsonpath={.status.replicas}"], "")
            .await
            .ok(),
        "2"
    );
    kubectl.run(&["delete", "crd", "shirts.shop.example.com"], "").await.ok();
    // kubectl remembers what there was, unless it is given another place to remember it in.
    let forgets = home.path().join("forgets");
    let unknown = async || {
        drop(std::fs::remove_dir_all(&forgets));
        let said = kubectl.run(&["get", "shirts", "--cache-dir", forgets.to_str().unwrap()], "").await;
        said.err.contains("the server doesn't have a resource type \"shirts\"")
    };
    until("the kind is gone", unknown).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_and_reads_what_an_extension_server_answers() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let client = server.admin();
    let peer = Peer::start(&server, extension).await;
    register(&client, &peer).await;
    available(&client, "True", "Passed").await;
    let listed = async || {
        kubectl.run(&["api-resources", "--api-group=metrics.example.com", "--no-headers"], "").await.out
    };
    until("the resource is found", async || listed().await.contains("samples")).await;
    let services =
        kubectl.run(&["get", "apiservices", "v1.metrics.example.com", "--no-headers"], "").await.ok();
    let words: Vec<&str> = services.split_whitespace().collect();
    assert_eq!(words[..3], ["v1.metrics.example.com", "default/peer", "True"]);
    // The peer answers with an empty list, to whatever kubectl asks.
    let none = kubectl.run(&["get", "smp"], "").await;
    assert!(none.code == 0 && none.err.contains("No resources found"), "{}{}", none.out, none.err);
    let asked = peer.asked().into_iter().rfind(|asked| asked.target.contains("/samples")).unwrap();
    assert_eq!(asked.header("x-remote-user"), "admin");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_kubectl_makes_is_sealed_at_rest_and_shown_to_who_may() {
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let config = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - secretbox: {{keys: [{{name: one, secret: {key}}}]}}\n  - identity: {{}}\n"
    );
    let server = TestServer::configured(|server| {
        server.encryption = Some(EncryptionConfig::parse(&config).unwrap());
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let plain = "a-word-that-nobody-else-says";
    kubectl.run(&["create", "secret", "generic", "s", &format!("--from-literal=k={plain}")], "").await.ok();
    let shown =
        kubectl.run(&["get", "secret", "s", "-o=go-template={{.data.k | base64decode}}"], "").await.ok();
    assert_eq!(shown, plain);
    let stored = server.store.get("/registry/secrets/default/s").await;
    assert!(stored.value.starts_with(b"k8s:enc:secretbox:v1:one:"), "{:?}", stored.value);
    server.stop().await;
}
