//! What must hold on every store: ours in this process, ours behind its gRPC face with TLS, and a real etcd. The other
//! tests of this program run on any of them too (`store_rig`).

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, config_map};
use crate::server::TestServer;
use crate::store_rig::{StoreKind, TestStore};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const ALL: [StoreKind; 3] = [StoreKind::Embedded, StoreKind::Served, StoreKind::Etcd];
const REMOTE: [StoreKind; 2] = [StoreKind::Served, StoreKind::Etcd];

async fn server_on(kind: StoreKind, prefix: &str) -> TestServer {
    let dir = tempfile::tempdir().unwrap();
    let store = TestStore::open_below(kind, dir.path(), prefix).await;
    TestServer::over(store, dir).await
}

fn map(name: &str, value: &str) -> Value {
    config_map(name, &json!({}), &json!({"k": value}))
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

async fn names(client: &Client, path: &str) -> Vec<String> {
    let list = client.get(path).await.expect(200);
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_changed_guarded_and_removed_on_every_store() {
    for kind in ALL {
        let server = server_on(kind, "/registry").await;
        let client = server.admin();
        let made = client.post(MAPS, &map("a", "1")).await.expect(201);
        let again = client.post(MAPS, &map("a", "1")).await;
        assert_eq!((again.code, again.reason().as_str()), (409, "AlreadyExists"), "{kind:?}");
        let mut changed = made.clone();
        changed["data"]["k"] = "2".into();
        let written = client.put(&format!("{MAPS}/a"), &changed).await.expect(200);
        let stale = client.put(&format!("{MAPS}/a"), &changed).await;
        assert_eq!((stale.code, stale.reason().as_str()), (409, "Conflict"), "{kind:?}");
        assert_ne!(version(&written), version(&made));
        let kept = server.store.get("/registry/configmaps/default/a").await;
        assert_eq!((kept.mod_revision.0.to_string(), kept.version), (version(&written), 2), "{kind:?}");
        // Lists are consistent at once, in pages too, and an old state can still be asked for.
        client.post(MAPS, &map("b", "1")).await.expect(201);
        assert_eq!(names(&client, &format!("{MAPS}?limit=500")).await, ["a", "b"], "{kind:?}");
        client.delete(&format!("{MAPS}/a")).await.expect(200);
        assert_eq!(names(&client, MAPS).await, ["b"], "{kind:?}");
        let then = format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact", version(&written));
        assert_eq!(names(&client, &then).await, ["a"], "{kind:?}");
        assert_eq!(client.get(&format!("{MAPS}/a")).await.code, 404);
        let ahead = client.get(&format!("{MAPS}?resourceVersion=99999999")).await;
        assert_eq!((ahead.code, ahead.reason().as_str()), (504, "Timeout"), "{kind:?}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_resume_and_end_with_the_history_on_every_store() {
    for kind in ALL {
        let server = server_on(kind, "/registry").await;
        let client = server.admin();
        let first = client.post(MAPS, &map("a", "1")).await.expect(201);
        let mut watch = client.watch(&format!("{MAPS}?watch=1"), JSON).await;
        assert_eq!(watch.event().await, "ADDED a");
        client.put(&format!("{MAPS}/a"), &map("a", "2")).await.expect(200);
        assert_eq!(watch.event().await, "MODIFIED a");
        client.delete(&format!("{MAPS}/a")).await.expect(200);
        assert_eq!(watch.event().await, "DELETED a");
        let resumed = format!("{MAPS}?watch=1&resourceVersion={}", version(&first));
        let mut watch = client.watch(&resumed, JSON).await;
        assert_eq!((watch.event().await, watch.event().await), ("MODIFIED a".into(), "DELETED a".into()));
        let store = server.store.backing();
        store.compact(store.revision().await.unwrap()).await.unwrap();
        // Another server, whose cache has none of the events.
        let server = server.restart(|_config| {}).await;
        let client = server.admin();
        let old = format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact", version(&first));
        assert_eq!(client.get(&old).await.code, 410, "{kind:?}");
        let mut watch = client.watch(&resumed, JSON).await;
        let event = watch.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)), "{kind:?}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_claim_addresses_and_custom_kinds_come_and_go_on_every_store() {
    for kind in ALL {
        let server = server_on(kind, "/registry").await;
        let client = server.admin();
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"ports": [{"port": 80}], "clusterIP": "10.96.0.77"}});
        let services = "/api/v1/namespaces/default/services";
        client.post(services, &service).await.expect(201);
        let mut other = service.clone();
        other["metadata"]["name"] = "t".into();
        assert_eq!(client.post(services, &other).await.code, 422, "{kind:?}: the address is taken");
        client.delete(&format!("{services}/s")).await.expect(200);
        client.post(services, &other).await.expect(201);

        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let versions = json!([crate::custom::version("v1", &schema)]);
        let crd = crate::custom::definition("shop.example.com", "Shirt", "Namespaced", &versions);
        crate::custom::install(&client, &crd).await;
        let shirts = "/apis/shop.example.com/v1/namespaces/default/shirts";
        let shirt = json!({"apiVersion": "shop.example.com/v1", "kind": "Shirt", "metadata": {"name": "x"}});
        client.post(shirts, &shirt).await.expect(201);
        assert_eq!(names(&client, shirts).await, ["x"], "{kind:?}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_consistent_while_others_write_to_the_same_store() {
    for kind in REMOTE {
        let server = server_on(kind, "/team/a").await;
        let client = server.admin();
        client.post(MAPS, &map("a", "1")).await.expect(201);
        for round in 0..5 {
            // The store's revision grows, and nothing of ours tells the cache so.
            server.store.put_as_another(&format!("/elsewhere/{round}")).await;
            server.store.put_as_another(&format!("/team/b/configmaps/default/b{round}")).await;
            let listed = tokio::time::timeout(Duration::from_secs(2), names(&client, MAPS)).await;
            assert_eq!(listed.expect("the cache hears of the revision"), ["a"], "{kind:?}");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_said_and_its_return_loses_nothing() {
    for kind in REMOTE {
        let mut server = server_on(kind, "/registry").await;
        let client = server.admin();
        client.post(MAPS, &map("before", "1")).await.expect(201);
        let mut watch = client.watch(&format!("{MAPS}?watch=1"), JSON).await;
        assert_eq!(watch.event().await, "ADDED before");
        server.store.kill().await;
        let refused = client.post(MAPS, &map("during", "1")).await;
        let said = refused.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(refused.code == 503 && said.contains("the store cannot be reached"), "{kind:?}: {said}");
        assert_eq!(client.get(MAPS).await.code, 503, "{kind:?}: a consistent list is not to be had");
        // What need not be fresh is still served.
        assert_eq!(names(&client, &format!("{MAPS}?resourceVersion=0")).await, ["before"], "{kind:?}");
        let ready = client.get("/readyz?verbose").await;
        let text = String::from_utf8_lossy(&ready.bytes).into_owned();
        assert!(ready.code == 500 && text.contains("[-]etcd failed"), "{kind:?}: {text}");
        server.store.run().await;
        client.post(MAPS, &map("after", "1")).await.expect(201);
        assert_eq!(watch.event().await, "ADDED after", "{kind:?}: the same watch goes on");
        assert_eq!(names(&client, MAPS).await, ["after", "before"], "{kind:?}");
        assert_eq!(client.get("/readyz").await.code, 200);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_for_the_store_are_read_again_when_they_change() {
    for kind in REMOTE {
        let mut server = server_on(kind, "/registry").await;
        let client = server.admin();
        client.post(MAPS, &map("before", "1")).await.expect(201);
        server.store.kill().await;
        // Neither side knows the other's new certificate by the old authority.
        server.store.renew_certificates();
        server.store.run().await;
        client.post(MAPS, &map("after", "1")).await.expect(201);
        assert_eq!(names(&client, MAPS).await, ["after", "before"], "{kind:?}");
        server.stop().await;
    }
}
