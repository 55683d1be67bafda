//! Clients that this project did not write: helm with a chart that has hooks and definitions, and the Python client.
//! `MAINSTAY_TEST_HELM` and `MAINSTAY_TEST_PYTHON` say where they are (`scripts/test` sets them).

use std::path::Path;

use serde_json::json;
use tokio::process::Command;

use crate::client::DEADLINE;
use crate::custom::{definition, install, version};
use crate::kubectl::Kubectl;
use crate::server::TestServer;

/// Runs a program that an environment variable names, with the kubeconfig in `home`; its output when it succeeds.
async fn run(variable: &str, home: &Path, arguments: &[&str]) -> String {
    run_with(variable, &home.join("config"), arguments).await
}

/// As [`run`], with this kubeconfig.
pub(crate) async fn run_with(variable: &str, config: &Path, arguments: &[&str]) -> String {
    let program = std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} must name the program: run the tests with `make test`"));
    let output = Command::new(program)
        .args(arguments)
        .env("KUBECONFIG", config)
        .env("HOME", config.parent().unwrap())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(3 * DEADLINE, output).await.expect("in time").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A chart with a definition, an object of it, a hook before the install and one after.
fn chart(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\n");
    write("values.yaml", "size: S\n");
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"size": {"type": "string", "enum": ["S", "L"]}}}}});
    let crd = definition("helm.example.com", "Shirt", "Namespaced", &json!([version("v1", &schema)]));
    write("crds/shirt.yaml", &crd.to_string());
    write(
        "templates/shirt.yaml",
        "apiVersion: helm.example.com/v1\nkind: Shirt\nmetadata: {name: '{{ .Release.Name }}'}\nspec: {size: '{{ .Values.size }}'}\n",
    );
    for hook in ["pre-install", "post-install", "pre-upgrade"] {
        write(
            &format!("templates/{hook}.yaml"),
            &format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {hook}\n  annotations:\n    helm.sh/hook: {hook}\n    helm.sh/hook-delete-policy: before-hook-creation\ndata: {{revision: '{{{{ .Release.Revision }}}}'}}\n"
            ),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_rolls_back_and_uninstalls_a_chart() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let folder = home.path().join("chart");
    chart(&folder);
    let folder = folder.to_str().unwrap();
    let helm = async |arguments: &[&str]| run("MAINSTAY_TEST_HELM", home.path(), arguments).await;
    let size = async || kubectl.run(&["get", "shirt", "red", "-o", "jsonpath={.spec.size}"], "").await.ok();
    assert!(helm(&["install", "red", folder, "--wait"]).await.contains("STATUS: deployed"));
    assert_eq!(size().await, "S");
    let hooks = kubectl.run(&["get", "configmaps", "-o", "name"], "").await.ok();
    assert!(hooks.contains("configmap/pre-install") && hooks.contains("configmap/post-install"), "{hooks}");
    assert!(helm(&["upgrade", "red", folder, "--set", "size=L", "--wait"]).await.contains("REVISION: 2"));
    assert_eq!(size().await, "L");
    helm(&["rollback", "red", "1"]).await;
    assert_eq!(size().await, "S");
    let history = helm(&["history", "red"]).await;
    assert!(history.contains("Rollback to 1"), "{history}");
    assert!(helm(&["list"]).await.contains("shop-1.2.3"));
    assert!(helm(&["get", "manifest", "red"]).await.contains("kind: Shirt"));
    helm(&["uninstall", "red"]).await;
    let gone = kubectl.run(&["get", "shirts"], "").await;
    assert!(gone.err.contains("No resources found"), "{}{}", gone.out, gone.err);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_reads_writes_watches_and_applies() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    Kubectl::new(&server, home.path());
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"text": {"type": "string"}}}}});
    let crd = definition("clients.example.com", "Note", "Namespaced", &json!([version("v1", &schema)]));
    install(&server.admin(), &crd).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/client.py");
    assert_eq!(run("MAINSTAY_TEST_PYTHON", home.path(), &[script]).await, "python is content\n");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_reads_an_object_of_every_kind() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    kubectl.run(&["create", "-f", "-"], &account.to_string()).await.ok();
    let examples = include_str!("../data/examples.yaml");
    let said = kubectl.run(&["create", "--validate=strict", "-f", "-"], examples).await.ok();
    assert!(said.lines().count() > 50, "{said}");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/every_kind.py");
    assert_eq!(run("MAINSTAY_TEST_PYTHON", home.path(), &[script]).await, "python read everything\n");
    server.stop().await;
}
