//! Encryption at rest through the whole server: what the store holds, rotation, and what cannot be read.

use bytes::Bytes;
use mainstay_apiserver_server::config::ServerConfig;
use mainstay_apiserver_server::encryption::EncryptionConfig;
use serde_json::{Value, json};

use super::kms_plugin::KmsPlugin;
use crate::client::Client;
use crate::server::TestServer;
use crate::store_rig::TestStore;

const ONE: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const TWO: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
const PATH: &str = "/api/v1/namespaces/default/secrets";

/// Seals these resources with these providers.
pub(crate) fn configuration(resources: &str, providers: &Value) -> EncryptionConfig {
    let text = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": [resources], "providers": providers}]
    });
    EncryptionConfig::parse(&text.to_string()).unwrap()
}

/// A provider with keys by name.
pub(crate) fn aesgcm(keys: &[(&str, &str)]) -> Value {
    let keys: Vec<Value> =
        keys.iter().map(|(name, secret)| json!({"name": name, "secret": secret})).collect();
    json!([{"aesgcm": {"keys": keys}}])
}

fn sealed_by(providers: Value) -> impl FnOnce(&mut ServerConfig) {
    move |config| config.encryption = Some(configuration("secrets", &providers))
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"p": "hunter2"}})
}

async fn stored(store: &TestStore, name: &str) -> Bytes {
    store.get(&format!("/registry/secrets/default/{name}")).await.value
}

async fn shows(client: &Client, name: &str) {
    let found = client.get(&format!("{PATH}/{name}")).await.expect(200);
    assert_eq!(found["data"]["p"], "aHVudGVyMg==");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_holds_no_secret_and_a_rotation_reaches_what_is_written() {
    let server = TestServer::configured(sealed_by(aesgcm(&[("key1", ONE)]))).await;
    let admin = server.admin();
    let mut watch = admin.watch(&format!("{PATH}?watch=1"), "application/json").await;
    admin.post(PATH, &secret("s")).await.expect(201);
    assert_eq!(watch.event().await, "ADDED s");
    drop(watch);
    let value = stored(&server.store, "s").await;
    assert!(value.starts_with(b"k8s:enc:aesgcm:v1:key1:"));
    assert!(!value.windows(7).any(|part| part == b"hunter2"));
    let both = aesgcm(&[("key2", TWO), ("key1", ONE)]);
    let server = server.restart(sealed_by(both)).await;
    let admin = server.admin();
    shows(&admin, "s").await;
    // The same state again: written, because it is sealed by a key of old.
    let object = admin.get(&format!("{PATH}/s")).await.expect(200);
    let written = admin.put(&format!("{PATH}/s"), &object).await.expect(200);
    assert_ne!(written["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
    assert!(stored(&server.store, "s").await.starts_with(b"k8s:enc:aesgcm:v1:key2:"));
    let again = admin.put(&format!("{PATH}/s"), &written).await.expect(200);
    assert_eq!(
        again["metadata"]["resourceVersion"], written["metadata"]["resourceVersion"],
        "once is enough"
    );
    let server = server.restart(sealed_by(aesgcm(&[("key2", TWO)]))).await;
    shows(&server.admin(), "s").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_said_and_harms_nothing_else() {
    let server = TestServer::configured(sealed_by(aesgcm(&[("key1", ONE)]))).await;
    server.admin().post(PATH, &secret("s")).await.expect(201);
    let server = server.restart(sealed_by(aesgcm(&[("key1", TWO)]))).await;
    let admin = server.admin();
    let why = "Internal error occurred: unable to transform key \"/registry/secrets/default/s\": cipher: message authentication failed";
    for path in [
        format!("{PATH}/s"),
        format!("{PATH}/s?resourceVersion=0"),
        PATH.to_owned(),
        "/api/v1/secrets".to_owned(),
    ] {
        let answer = admin.get(&path).await.expect(500);
        assert_eq!((&answer["message"], &answer["reason"]), (&json!(why), &json!("InternalError")), "{path}");
    }
    admin.get("/api/v1/namespaces/kube-system/secrets").await.expect(200);
    admin.post(PATH, &secret("other")).await.expect(201);
    shows(&admin, "other").await;
    let server = server.restart(|_plain| {}).await;
    let answer = server.admin().get(PATH).await.expect(500);
    let message = answer["message"].as_str().unwrap();
    assert!(message.ends_with("identity transformer tried to read encrypted data"), "{message}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_can_be_removed_by_who_may() {
    let server = TestServer::configured(sealed_by(aesgcm(&[("key1", ONE)]))).await;
    server.admin().post(PATH, &secret("s")).await.expect(201);
    let server = server.restart(sealed_by(aesgcm(&[("key1", TWO)]))).await;
    let admin = server.admin();
    admin.post(PATH, &secret("sound")).await.expect(201);
    let rule = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["delete"]}]);
    super::grant(&admin, "joe", rule).await;
    let headers = [("content-type", "application/json")];
    let remove = async |client: &Client, name: &str, more: Value| {
        let mut options = json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true});
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.call(http::Method::DELETE, &format!("{PATH}/{name}"), &headers, options.to_string()).await
    };
    let joe = server.user("joe", &[]);
    let refused = remove(&joe, "s", json!({})).await.expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("not permitted to do \"unsafe-delete-ignore-read-errors\", reason: "),
        "{message}"
    );
    let mixed = remove(&admin, "s", json!({"gracePeriodSeconds": 0})).await.expect(422);
    let message = mixed["message"].as_str().unwrap();
    assert!(
        message.ends_with("Invalid value: true: cannot be set together with .gracePeriodSeconds"),
        "{message}"
    );
    let readable = remove(&admin, "sound", json!({})).await.expect(409);
    let message = readable["message"].as_str().unwrap();
    assert!(
        message.ends_with("unsafe deletion is not allowed because the object is decodable from storage"),
        "{message}"
    );
    remove(&admin, "s", json!({"dryRun": ["All"]})).await.expect(200);
    admin.get(PATH).await.expect(500);
    let removed = remove(&admin, "s", json!({})).await.expect(200);
    assert_eq!((&removed["status"], &removed["details"]["name"]), (&json!("Success"), &json!("s")));
    assert_eq!(
        admin.get(PATH).await.expect(200)["items"].as_array().unwrap().len(),
        1,
        "lists are whole again"
    );
    remove(&admin, "s", json!({})).await.expect(404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kms_seals_data_keys_and_a_new_key_of_it_makes_values_stale() {
    let plugin = KmsPlugin::start();
    let providers = json!([{"kms": {"apiVersion": "v2", "name": "vault", "endpoint": plugin.endpoint()}}]);
    let server = TestServer::configured(sealed_by(providers.clone())).await;
    let admin = server.admin();
    for name in ["a", "b"] {
        admin.post(PATH, &secret(name)).await.expect(201);
    }
    let value = stored(&server.store, "a").await;
    assert!(value.starts_with(b"k8s:enc:kms:v2:vault:"));
    assert!(!value.windows(7).any(|part| part == b"hunter2"));
    assert_eq!(plugin.calls("Encrypt"), 1, "one data key for all");
    plugin.rotate();
    let server = server.restart(sealed_by(providers.clone())).await;
    let admin = server.admin();
    shows(&admin, "a").await;
    shows(&admin, "b").await;
    assert_eq!((plugin.calls("Encrypt"), plugin.calls("Decrypt")), (2, 1), "a source is opened once");
    let object = admin.get(&format!("{PATH}/a")).await.expect(200);
    let written = admin.put(&format!("{PATH}/a"), &object).await.expect(200);
    assert_ne!(written["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
    plugin.fail();
    let server = server.restart(sealed_by(providers)).await;
    let admin = server.admin();
    let message = admin.get(&format!("{PATH}/b")).await.expect(500)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("failed to decrypt DEK, error: rpc error"), "{message}");
    admin.post(PATH, &secret("c")).await.expect(500);
    server.stop().await;
}
