//! kubectl through the life of a server: keys that are exchanged, stores of every kind, and the end.

use mainstay_apiserver_server::config::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::client::DEADLINE;
use crate::kubectl::Kubectl;
use crate::kubectl_rules::{refused, until};
use crate::security::{KmsPlugin, aesgcm, configuration};
use crate::server::TestServer;
use crate::store_rig::{StoreKind, TestStore};

const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const TWO: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

fn sealed_by(providers: &Value) -> impl FnOnce(&mut ServerConfig) {
    let sealed = configuration("secrets", providers);
    move |config| config.encryption = Some(sealed)
}

async fn word(kubectl: &Kubectl<'_>) -> String {
    let shown = ["get", "secret", "s", "-o=go-template={{.data.k | base64decode}}"];
    kubectl.run(&shown, "").await.ok()
}

/// Every Secret is read and written as it is: how upstream's documentation has a new key reach what is stored.
async fn write_all_again(kubectl: &Kubectl<'_>) {
    let all = kubectl.run(&["get", "secrets", "-A", "-o", "json"], "").await.ok();
    let said = kubectl.run(&["replace", "-f", "-"], &all).await.ok();
    assert!(said.contains("secret/s replaced"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_brings_a_new_key_to_every_secret() {
    let plugin = KmsPlugin::start();
    let home = tempfile::tempdir().unwrap();
    let server = TestServer::configured(sealed_by(&aesgcm(&[("key1", ONE)]))).await;
    let kubectl = Kubectl::new(&server, home.path());
    kubectl.run(&["create", "secret", "generic", "s", "--from-literal=k=hunter2"], "").await.ok();
    let kms = json!({"kms": {"apiVersion": "v2", "name": "vault", "endpoint": plugin.endpoint()}});
    let old = aesgcm(&[("key1", ONE)]);
    let steps = [
        ("k8s:enc:aesgcm:v1:key2:", aesgcm(&[("key2", TWO), ("key1", ONE)])),
        ("k8s:enc:kms:v2:vault:", json!([kms, aesgcm(&[("key2", TWO)])[0]])),
        ("k8s:enc:aesgcm:v1:key1:", json!([old[0], kms])),
    ];
    let mut server = server;
    for (begins, providers) in steps {
        server = server.restart(sealed_by(&providers)).await;
        let kubectl = Kubectl::new(&server, home.path());
        assert_eq!(word(&kubectl).await, "hunter2", "what is stored is still read");
        write_all_again(&kubectl).await;
        let stored = server.store.get("/registry/secrets/default/s").await.value;
        assert!(stored.starts_with(begins.as_bytes()), "{begins}");
        assert_eq!(word(&kubectl).await, "hunter2");
    }
    let server = server.restart(sealed_by(&aesgcm(&[("key1", TWO)]))).await;
    let kubectl = Kubectl::new(&server, home.path());
    let said = refused(&kubectl, &["get", "secret", "s"], "").await;
    assert!(said.contains("Error from server (InternalError): Internal error occurred: unable to transform key \"/registry/secrets/default/s\""), "{said}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_the_same_server_over_every_store() {
    for kind in [StoreKind::Served, StoreKind::Etcd] {
        let dir = tempfile::tempdir().unwrap();
        let store = TestStore::open_below(kind, dir.path(), "/registry").await;
        let server = TestServer::over(store, dir).await;
        let home = tempfile::tempdir().unwrap();
        let kubectl = Kubectl::new(&server, home.path());
        let maps: Vec<Value> = (0..5)
            .map(|n| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{n}"), "namespace": "default"}, "data": {"k": "1"}}))
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": maps}).to_string();
        let apply = ["apply", "--server-side", "-f", "-"];
        kubectl.run(&apply, &list).await.ok();
        kubectl.run(&apply, &list.replace("\"1\"", "\"2\"")).await.ok();
        let pages = ["get", "configmaps", "--chunk-size=2", "-o", "jsonpath={.items[*].data.k}"];
        assert_eq!(kubectl.run(&pages, "").await.ok(), "2 2 2 2 2", "{kind:?}");
        let known = "{\"metadata\":{\"resourceVersion\":\"1\"},\"data\":{\"k\":\"3\"}}";
        let said = refused(&kubectl, &["patch", "configmap", "m0", "--type=merge", "-p", known], "").await;
        assert!(
            said.contains("the object has been modified; please apply your changes to the latest version"),
            "{said}"
        );
        kubectl.run(&["delete", "configmaps", "--all", "--wait"], "").await.ok();
        assert_eq!(kubectl.run(&["get", "configmaps", "-o", "name"], "").await.ok(), "", "{kind:?}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_kubectl_sees_the_last_change_and_ends_well_with_the_server() {
    let server = TestServer::start().await;
    let home = tempfile::tempdir().unwrap();
    let kubectl = Kubectl::new(&server, home.path());
    kubectl.run(&["create", "configmap", "first"], "").await.ok();
    let mut watch = kubectl.spawn(&["get", "configmaps", "--watch", "-o", "name"]);
    let mut seen = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert_eq!(seen.next_line().await.unwrap().as_deref(), Some("configmap/first"));
    server.server.announce_shutdown();
    let ready = ["get", "--raw", "/readyz"];
    until("it is not ready", async || kubectl.run(&ready, "").await.err.contains("shutdown")).await;
    kubectl.run(&["create", "configmap", "last"], "").await.ok();
    assert_eq!(seen.next_line().await.unwrap().as_deref(), Some("configmap/last"));
    let ended = async { tokio::time::timeout(DEADLINE, watch.wait()).await.expect("it ends").unwrap() };
    let ((), ended) = tokio::join!(server.stop(), ended);
    assert!(ended.success(), "the watch was ended, not broken off: {ended}");
}
