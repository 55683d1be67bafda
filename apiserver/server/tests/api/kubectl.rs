//! Field owners as kubectl shows them. Needs kubectl in the path, as the tests of the whole do.

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_base::pki::Usage;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::client::DEADLINE;
use crate::server::{TestServer, leaf};

/// What kubectl said and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }
}

/// kubectl with an administrator's kubeconfig in `home`.
struct Kubectl<'a> {
    home: &'a Path,
}

impl<'a> Kubectl<'a> {
    fn new(server: &TestServer, home: &'a Path) -> Self {
        let pair = leaf(&server.ca, "admin", &["system:masters"], Usage::Client);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": format!("https://{}", server.server.local_addr()),
                "certificate-authority-data": STANDARD.encode(server.ca.certificate_pem())}}],
            "users": [{"name": "u", "user": {
                "client-certificate-data": STANDARD.encode(&pair.cert_pem),
                "client-key-data": STANDARD.encode(&pair.key_pem)}}],
        });
        std::fs::write(home.join("config"), config.to_string()).unwrap();
        Self { home }
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = Command::new("kubectl")
            .args(arguments)
            .env("KUBECONFIG", self.home.join("config"))
            .env("HOME", self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl is installed");
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
