//! What kubectl does that needs no running pod. Needs kubectl in the path, as the tests of the whole do.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_server::config::PemPair;
use mainstay_base::pki::Usage;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::client::DEADLINE;
use crate::server::{TestServer, leaf};

/// What kubectl said and how it ended.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }
}

/// kubectl with a kubeconfig in `home`.
pub(crate) struct Kubectl<'a> {
    home: &'a Path,
    config: PathBuf,
}

impl<'a> Kubectl<'a> {
    /// As the administrator.
    pub(crate) fn new(server: &TestServer, home: &'a Path) -> Self {
        Self::of(server, home, "config", &leaf(&server.ca, "admin", &["system:masters"], Usage::Client))
    }

    /// As whoever this certificate names; the kubeconfig is `file`.
    pub(crate) fn of(server: &TestServer, home: &'a Path, file: &str, identity: &PemPair) -> Self {
        let user = json!({
            "client-certificate-data": STANDARD.encode(&identity.cert_pem),
            "client-key-data": STANDARD.encode(&identity.key_pem)});
        Self::with_user(server, home, file, &user)
    }

    /// As whoever holds this token.
    pub(crate) fn with_token(server: &TestServer, home: &'a Path, token: &str) -> Self {
        Self::with_user(server, home, "token-config", &json!({"token": token}))
    }

    fn with_user(server: &TestServer, home: &'a Path, file: &str, user: &Value) -> Self {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://{}", server.server.local_addr()),
                "certificate-authority-data": STANDARD.encode(server.ca.certificate_pem())}}],
            "users": [{"name": "u", "user": user}],
        });
        let path = home.join(file);
        std::fs::write(&path, config.to_string()).unwrap();
        Self { home, config: path }
    }

    /// Its kubeconfig.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// A kubectl that runs, to be talked with.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new("kubectl")
            .args(arguments)
            .env("KUBECONFIG", &self.config)
            .env("HOME", self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl is installed")
    }

    pub(crate) async fn run(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self.spawn(arguments);
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output =
            tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("in time").unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

fn map(value: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}, "data": {"k": value}})
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_on_the_server() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let apply = ["apply", "--server-side", "-f", "-"];
    assert_eq!(kubectl.run(&apply, &map("1")).await.ok(), "configmap/m serverside-applied\n");
    let shown = ["get", "configmap", "m", "-o", "json", "--show-managed-fields"];
    let object: Value = serde_json::from_str(&kubectl.run(&shown, "").await.ok()).unwrap();
    let owner = &object["metadata"]["managedFields"][0];
    assert_eq!(
        (&owner["manager"], &owner["operation"], &owner["fieldsV1"]),
        (&json!("kubectl"), &json!("Apply"), &json!({"f:data": {"f:k": {}}}))
    );
    let diff = kubectl.run(&["diff", "--server-side", "-f", "-"], &map("2")).await;
    assert!(
        diff.code == 1 && diff.out.contains("-  k: \"1\"") && diff.out.contains("+  k: \"2\""),
        "{}",
        diff.out
    );

    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let conflict = kubectl.run(&other, &map("3")).await;
    assert!(
        conflict.code == 1
            && conflict.err.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.k")
            && conflict.err.contains("--force-conflicts"),
        "{}",
        conflict.err
    );
    let forced = ["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-"];
    kubectl.run(&forced, &map("3")).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_moves_from_the_client_to_the_server() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    kubectl.run(&["apply", "-f", "-"], &map("1")).await.ok();
    kubectl.run(&["apply", "--server-side", "-f", "-"], &map("2")).await.ok();
    let shown = ["get", "configmap", "m", "-o", "json", "--show-managed-fields"];
    let object: Value = serde_json::from_str(&kubectl.run(&shown, "").await.ok()).unwrap();
    let managers: Vec<&str> = object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["manager"].as_str().unwrap())
        .collect();
    assert!(
        managers.contains(&"kubectl") && !managers.contains(&"kubectl-client-side-apply"),
        "{managers:?}"
    );
    assert_eq!(object["data"]["k"], "2");
    let dropped = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}, "data": {}});
    kubectl.run(&["apply", "--server-side", "-f", "-"], &dropped.to_string()).await.ok();
    let object: Value = serde_json::from_str(&kubectl.run(&shown, "").await.ok()).unwrap();
    assert_eq!(object["data"], Value::Null, "what was applied on the client is the server's to remove");
    server.stop().await;
}

/// A node that says it is Ready, and a pod that runs on it.
async fn node_and_pod(kubectl: &Kubectl<'_>) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
    kubectl.run(&["create", "-f", "-"], &account.to_string()).await.ok();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    kubectl.run(&["create", "-f", "-"], &node.to_string()).await.ok();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default", "labels": {"app": "p"}},
        "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]}});
    kubectl.run(&["create", "-f", "-"], &pod.to_string()).await.ok();
}

/// A command, its input, and what its output must hold.
type Row<'a> = (&'a [&'a str], &'a str, &'a str);

async fn all_say(kubectl: &Kubectl<'_>, rows: &[Row<'_>]) {
    for (arguments, input, wanted) in rows {
        let said = kubectl.run(arguments, input).await;
        let text = format!("{}{}", said.out, said.err);
        assert_eq!(said.code, 0, "{arguments:?}: {text}");
        assert!(text.contains(wanted), "{arguments:?}: {wanted:?} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_replaces_scales_and_deletes_all() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let replaced = map("9");
    let rows: &[Row<'_>] = &[
        (&["create", "-f", "-"], &map("1"), "configmap/m created"),
        (&["replace", "-f", "-"], &replaced, "configmap/m replaced"),
        (&["replace", "--force", "-f", "-"], &replaced, "configmap/m replaced"),
        (&["get", "configmap", "m", "-o", "jsonpath={.data.k}"], "", "9"),
        (
            &["create", "deployment", "web", "--image=web:1", "--replicas=2"],
            "",
            "deployment.apps/web created",
        ),
        (
            &["scale", "deployment", "web", "--replicas=5", "--current-replicas=2"],
            "",
            "deployment.apps/web scaled",
        ),
        (&["set", "image", "deployment/web", "web=web:2"], "", "deployment.apps/web image updated"),
        (&["set", "resources", "deployment/web", "--limits=cpu=1"], "", "resource requirements updated"),
        (&["set", "env", "deployment/web", "A=b"], "", "deployment.apps/web env updated"),
        (&["rollout", "pause", "deployment/web"], "", "deployment.apps/web paused"),
        (&["rollout", "resume", "deployment/web"], "", "deployment.apps/web resumed"),
        (&["rollout", "restart", "deployment/web"], "", "deployment.apps/web restarted"),
        (
            &["autoscale", "deployment", "web", "--min=2", "--max=7", "--cpu-percent=60"],
            "",
            "horizontalpodautoscaler.autoscaling/web autoscaled",
        ),
        (&["get", "hpa", "web"], "", "Deployment/web"),
        (&["describe", "hpa", "web"], "", "Max replicas:"),
        (&["create", "quota", "q", "--hard=pods=3"], "", "resourcequota/q created"),
        (
            &["create", "pdb", "web", "--selector=app=web", "--min-available=50%"],
            "",
            "poddisruptionbudget.policy/web created",
        ),
        (
            &["create", "priorityclass", "high", "--value=1000"],
            "",
            "priorityclass.scheduling.k8s.io/high created",
        ),
        (&["create", "ingress", "i", "--rule=a.example/=web:80"], "", "ingress.networking.k8s.io/i created"),
        (&["create", "job", "j", "--image=web:1"], "", "job.batch/j created"),
        (
            &["create", "cronjob", "c", "--image=web:1", "--schedule=*/5 * * * *"],
            "",
            "cronjob.batch/c created",
        ),
        (&["delete", "deployments", "--all"], "", "deployment.apps \"web\" deleted"),
        (&["delete", "configmaps", "--all"], "", "configmap \"m\" deleted"),
        (&["get", "deployments"], "", "No resources found in default namespace."),
    ];
    all_say(&kubectl, rows).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_taints_cordons_debugs_and_tells_about_the_cluster() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    node_and_pod(&kubectl).await;
    let url = format!("https://{}", server.server.local_addr());
    let rows: &[Row<'_>] = &[
        (&["taint", "nodes", "n", "dedicated=db:NoSchedule"], "", "node/n tainted"),
        (&["get", "node", "n", "-o", "jsonpath={.spec.taints}"], "", "\"dedicated\""),
        (&["taint", "nodes", "n", "dedicated-"], "", "node/n untainted"),
        (&["cordon", "n"], "", "node/n cordoned"),
        (&["get", "nodes"], "", "SchedulingDisabled"),
        (&["uncordon", "n"], "", "node/n uncordoned"),
        (&["label", "node", "n", "zone=a"], "", "node/n labeled"),
        (&["debug", "p", "--image=tools:1", "--container=d", "--attach=false"], "", ""),
        (
            &[
                "get",
                "pod",
                "p",
                "-o",
                "jsonpath={.spec.ephemeralContainers[0].name}:{.spec.ephemeralContainers[0].image}",
            ],
            "",
            "d:tools:1",
        ),
        (&["debug", "p", "--image=tools:1", "--copy-to=copy", "--attach=false"], "", ""),
        (&["get", "pod", "copy", "-o", "jsonpath={.spec.containers[*].image}"], "", "i tools:1"),
        (
            &["debug", "node/n", "--image=tools:1", "--attach=false"],
            "",
            "Creating debugging pod node-debugger-n-",
        ),
        (&["cluster-info"], "", &url),
        (&["config", "current-context"], "", "c"),
        (&["config", "set-context", "--current", "--namespace=kube-system"], "", "Context \"c\" modified."),
        (&["config", "view", "--minify", "-o", "jsonpath={..namespace}"], "", "kube-system"),
        (&["version"], "", "Server Version: v1."),
        (&["api-versions"], "", "apiregistration.k8s.io/v1"),
        (&["get", "--raw", "/readyz?verbose"], "", "readyz check passed"),
        (&["auth", "whoami"], "", "system:masters"),
    ];
    all_say(&kubectl, rows).await;
    let top = kubectl.run(&["top", "nodes"], "").await;
    assert_eq!((top.code, top.err.trim()), (1, "error: Metrics API not available"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_kustomizations_and_explains_custom_resources() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let base = home.path().join("base");
    std::fs::create_dir(&base).unwrap();
    std::fs::write(base.join("kustomization.yaml"), "namePrefix: pre-\nlabels: [{pairs: {team: blue}}]\nresources: [map.yaml]\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n").unwrap();
    std::fs::write(base.join("map.yaml"), map("1")).unwrap();
    let folder = base.to_str().unwrap();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "description": "What is wanted.", "required": ["size"],
        "properties": {"size": {"type": "string", "enum": ["S", "L"]}, "parts": {"type": "array", "items": {"type": "object",
            "properties": {"name": {"type": "string", "description": "Of the part."}}}}}}}});
    let crd = crate::custom::definition(
        "shop.example.com",
        "Shirt",
        "Namespaced",
        &json!([crate::custom::version("v1", &schema)]),
    );
    let client = server.admin();
    crate::custom::install(&client, &crd).await;
    let rows: &[Row<'_>] = &[
        (&["kustomize", folder], "", "pre-made-"),
        (&["apply", "-k", folder], "", "configmap/pre-m created"),
        (&["get", "configmaps", "-l", "team=blue", "-o", "name"], "", "configmap/pre-made-"),
        (&["apply", "-k", folder], "", "configmap/pre-m unchanged"),
        (&["diff", "-k", folder], "", ""),
        (&["delete", "-k", folder], "", "configmap \"pre-m\" deleted"),
        (&["explain", "shirts", "--recursive"], "", "parts\t<[]Object>"),
        (&["explain", "shirts.spec.parts.name"], "", "Of the part."),
        (&["explain", "shirt.spec.size"], "", "ENUM:\n    S\n    L"),
        (&["get", "shirts"], "", "No resources found in default namespace."),
    ];
    all_say(&kubectl, rows).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_approves_and_denies_certificates() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    let key = rcgen::KeyPair::generate().unwrap();
    let request = parameters.serialize_request(&key).unwrap().pem().unwrap();
    let csr = |name: &str| {
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"signerName": "example.com/any", "usages": ["client auth"], "request": STANDARD.encode(&request)}})
        .to_string()
    };
    let (yes, no) = (csr("yes"), csr("no"));
    let rows: &[Row<'_>] = &[
        (&["create", "-f", "-"], &yes, "certificatesigningrequest.certificates.k8s.io/yes created"),
        (&["create", "-f", "-"], &no, "certificatesigningrequest.certificates.k8s.io/no created"),
        (&["certificate", "approve", "yes"], "", "yes approved"),
        (&["certificate", "deny", "no"], "", "no denied"),
        (&["get", "csr", "yes"], "", "Approved"),
        (&["get", "csr", "no"], "", "Denied"),
    ];
    all_say(&kubectl, rows).await;
    server.stop().await;
}
