//! Custom resources whose versions a webhook converts between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{CRDS, definition, install};
use crate::client::Client;
use crate::server::TestServer;
use crate::tls_peer::{Does, Peer};

const GROUP: &str = "/apis/conv.example.com";

fn path(version: &str, name: &str) -> String {
    let slash = if name.is_empty() { "" } else { "/" };
    format!("{GROUP}/{version}/namespaces/default/endpoints{slash}{name}")
}

/// `v1` has host and port, `v2` has them in one text.
fn other_form(object: &Value, to: &str) -> Value {
    let mut converted = object.clone();
    converted["apiVersion"] = json!(to);
    let spec = &object["spec"];
    converted["spec"] = if to.ends_with("/v2") {
        json!({"hostPort": format!("{}:{}", spec["host"].as_str().unwrap(), spec["port"])})
    } else {
        let (host, port) = spec["hostPort"].as_str().unwrap().split_once(':').unwrap();
        json!({"host": host, "port": port.parse::<i64>().unwrap()})
    };
    // Of the metadata a webhook changes only labels and annotations; the rest is not its business.
    converted["metadata"]["labels"]["form"] = json!(to.rsplit('/').next().unwrap());
    converted["metadata"]["finalizers"] = json!(["example.com/never"]);
    converted
}

/// What a webhook answers that converts between the two versions.
pub(crate) fn answered(review: &Value) -> Does {
    let request = &review["request"];
    let to = request["desiredAPIVersion"].as_str().unwrap();
    let objects = request["objects"].as_array().unwrap().iter().map(|object| other_form(object, to));
    let response = json!({"uid": request["uid"], "result": {"status": "Success"},
        "convertedObjects": objects.collect::<Vec<_>>()});
    Does::Answer(
        200,
        json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}),
    )
}

/// A definition with two versions that `peer` converts between; `stored` is the one that is stored.
pub(crate) fn endpoints(peer: &Peer, stored: &str) -> Value {
    let text = json!({"type": "string"});
    let spec = |properties: Value| json!({"type": "object", "properties": properties});
    let schema = |properties: Value| json!({"type": "object", "properties": {"spec": spec(properties)}});
    let version = |name: &str, properties: Value| {
        json!({"name": name, "served": true, "storage": name == stored,
            "additionalPrinterColumns": [{"name": "At", "type": "string", "jsonPath": ".spec.hostPort"}],
            "schema": {"openAPIV3Schema": schema(properties)}})
    };
    let versions = json!([
        version("v1", json!({"host": text, "port": {"type": "integer"}})),
        version("v2", json!({"hostPort": text})),
    ]);
    let mut crd = definition("conv.example.com", "Endpoint", "Namespaced", &versions);
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1", "v1beta1"],
        "clientConfig": {"url": peer.url("/convert"), "caBundle": peer.ca_bundle()}}});
    crd
}

fn endpoint(version: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("conv.example.com/{version}"), "kind": "Endpoint",
        "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_written_read_and_watched_in_every_version() {
    let server = TestServer::start().await;
    let client = server.admin();
    let peer = Peer::start(&server, |asked| answered(&asked.json())).await;
    install(&client, &endpoints(&peer, "v1")).await;
    let mut watch = client.watch(&format!("{}?watch=1", path("v2", "")), "application/json").await;

    let a = endpoint("v2", "a", &json!({"hostPort": "a.example:80"}));
    let made = client.post(&path("v2", ""), &a).await.expect(201);
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("conv.example.com/v2"), &a["spec"]));
    assert_eq!(made["metadata"]["labels"], json!({"app": "a", "form": "v2"}));
    assert_eq!(made["metadata"]["finalizers"], Value::Null, "a webhook does not change what an object is");
    let old = client.get(&path("v1", "a")).await.expect(200);
    assert_eq!(old["spec"], json!({"host": "a.example", "port": 80}));
    assert_eq!(old["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(old["metadata"]["uid"], made["metadata"]["uid"]);
    let b = endpoint("v1", "b", &json!({"host": "b.example", "port": 81}));
    client.post(&path("v1", ""), &b).await.expect(201);
    for (version, spec) in
        [("v1", json!({"host": "b.example", "port": 81})), ("v2", json!({"hostPort": "b.example:81"}))]
    {
        let list = client.get(&path(version, "")).await.expect(200);
        assert_eq!(
            (&list["items"][1]["spec"], list["items"].as_array().unwrap().len()),
            (&spec, 2),
            "{version}"
        );
        let one = client.get(&format!("{}?labelSelector=app%3Db,form%3D{version}", path(version, ""))).await;
        let items = one.expect(200)["items"].as_array().unwrap().len();
        assert_eq!(items, usize::from(version == "v2"), "labels are those of the version");
    }
    let page = client.get(&format!("{}?limit=1", path("v2", ""))).await.expect(200);
    let next = page["metadata"]["continue"].as_str().unwrap();
    let page = client.get(&format!("{}?limit=1&continue={next}", path("v2", ""))).await.expect(200);
    assert_eq!(page["items"][0]["spec"]["hostPort"], "b.example:81");
    let table = client.get_as(&path("v2", "b"), "application/json;as=Table;g=meta.k8s.io;v=v1").await;
    assert_eq!(table.expect(200)["rows"][0]["cells"], json!(["b", "b.example:81"]));

    let changed = json!({"spec": {"hostPort": "b.example:82"}});
    client.patch(&path("v2", "b"), "merge", &changed).await.expect(200);
    assert_eq!(client.get(&path("v1", "b")).await.expect(200)["spec"]["port"], 82);
    let mut whole = client.get(&path("v2", "a")).await.expect(200);
    whole["spec"]["hostPort"] = json!("a.example:83");
    let dry = client.put(&format!("{}?dryRun=All", path("v2", "a")), &whole).await.expect(200);
    assert_eq!(dry["spec"]["hostPort"], "a.example:83");
    assert_eq!(client.get(&path("v1", "a")).await.expect(200)["spec"]["port"], 80);
    client.delete(&path("v2", "b")).await.expect(200);
    let seen = ["ADDED a", "ADDED b", "MODIFIED b", "DELETED b"];
    for wanted in seen {
        let event = loop {
            let event = watch.next().await.unwrap();
            if event["type"] != "BOOKMARK" {
                break event;
            }
        };
        let name = event["object"]["metadata"]["name"].as_str().unwrap();
        assert_eq!(format!("{} {name}", event["type"].as_str().unwrap()), wanted);
        assert_eq!(event["object"]["apiVersion"], "conv.example.com/v2");
        assert!(event["object"]["spec"]["hostPort"].is_string(), "{event}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_in_an_older_version_moves_when_it_is_written() {
    let server = TestServer::start().await;
    let client = server.admin();
    let peer = Peer::start(&server, |asked| answered(&asked.json())).await;
    install(&client, &endpoints(&peer, "v1")).await;
    let a = endpoint("v1", "a", &json!({"host": "a.example", "port": 80}));
    client.post(&path("v1", ""), &a).await.expect(201);
    assert!(peer.asked().is_empty(), "the stored version needs no webhook");
    let crd = client.get(&format!("{CRDS}/endpoints.conv.example.com")).await.expect(200);
    let mut versions = crd["spec"]["versions"].clone();
    versions[0]["storage"] = json!(false);
    versions[1]["storage"] = json!(true);
    let switched = json!({"spec": {"versions": versions}});
    let hash = storage_hash(&client).await;
    client.patch(&format!("{CRDS}/endpoints.conv.example.com"), "merge", &switched).await.expect(200);
    let switch = async {
        while storage_hash(&client).await == hash {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::client::DEADLINE, switch).await.expect("served anew in time");
    let crd = client.get(&format!("{CRDS}/endpoints.conv.example.com")).await.expect(200);
    assert_eq!(crd["status"]["storedVersions"], json!(["v1", "v2"]));

    let read = client.get(&path("v2", "a")).await.expect(200);
    assert_eq!(read["spec"], json!({"hostPort": "a.example:80"}));
    let asked = peer.asked().len();
    assert_eq!(client.get(&path("v1", "a")).await.expect(200)["spec"]["port"], 80);
    assert_eq!(peer.asked().len(), asked, "it is still stored as v1");
    let written = client.put(&path("v2", "a"), &read).await.expect(200);
    assert_ne!(written["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"]);
    let asked = peer.asked().len();
    client.get(&path("v2", "a")).await.expect(200);
    assert_eq!(peer.asked().len(), asked, "now it is stored as v2");
    assert_eq!(client.get(&path("v1", "a")).await.expect(200)["spec"]["host"], "a.example");
    server.stop().await;
}

async fn storage_hash(client: &Client) -> Value {
    client.get(&format!("{GROUP}/v1")).await.expect(200)["resources"][0]["storageVersionHash"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn conversions_that_fail_are_told_in_upstreams_words() {
    let server = TestServer::start().await;
    let client = server.admin();
    let (renames, is_out) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (rename, out) = (Arc::clone(&renames), Arc::clone(&is_out));
    let peer = Peer::start(&server, move |asked| {
        let review = asked.json();
        if out.load(Ordering::Relaxed) {
            let response = json!({"uid": review["request"]["uid"], "result": {"status": "Failed", "message": "not today"}});
            return Does::Answer(200, json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}));
        }
        let Does::Answer(code, mut answer) = answered(&review) else { return Does::Nothing };
        if rename.load(Ordering::Relaxed) {
            answer["response"]["convertedObjects"][0]["metadata"]["name"] = json!("other");
        }
        Does::Answer(code, answer)
    })
    .await;
    install(&client, &endpoints(&peer, "v1")).await;
    for name in ["a", "b"] {
        let object = endpoint("v1", name, &json!({"host": "x.example", "port": 80}));
        client.post(&path("v1", ""), &object).await.expect(201);
    }
    renames.store(true, Ordering::Relaxed);
    let refused = client.get(&path("v2", "a")).await.expect(500);
    assert_eq!(
        refused["message"],
        "conversion webhook for conv.example.com/v1, Kind=Endpoint returned invalid object: must have the same name: a != other"
    );
    renames.store(false, Ordering::Relaxed);
    is_out.store(true, Ordering::Relaxed);
    for answer in [
        client.get(&path("v2", "a")).await,
        client.get(&path("v2", "")).await,
        client.delete(&path("v2", "a")).await,
        client.patch(&path("v2", "a"), "merge", &json!({"spec": {"hostPort": "y:1"}})).await,
    ] {
        let refused = answer.expect(500);
        assert_eq!(
            refused["message"],
            "conversion webhook for conv.example.com/v1, Kind=Endpoint failed: not today"
        );
    }
    let new = endpoint("v2", "c", &json!({"hostPort": "c.example:80"}));
    let refused = client.post(&path("v2", ""), &new).await.expect(500);
    assert_eq!(
        refused["message"],
        "conversion webhook for conv.example.com/v2, Kind=Endpoint failed: not today"
    );
    assert_eq!(client.get(&path("v1", "")).await.expect(200)["items"].as_array().unwrap().len(), 2);
    let mut watch = client.watch(&format!("{}?watch=1", path("v2", "")), "application/json").await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(500)));
    assert!(watch.next().await.is_none());

    let nowhere = json!({"spec": {"conversion": {"webhook": {"clientConfig": {"url": "https://127.0.0.1:1/convert"}}}}});
    let switched = client.patch(&format!("{CRDS}/endpoints.conv.example.com"), "merge", &nowhere).await;
    switched.expect(200);
    let wait = async {
        loop {
            let refused = client.get(&path("v2", "a")).await.expect(500);
            let message = refused["message"].as_str().unwrap();
            if message.starts_with("conversion webhook for conv.example.com/v1, Kind=Endpoint failed: Post \"https://127.0.0.1:1/convert?timeout=30s\": dial tcp 127.0.0.1:1: ") {
                break;
            }
            assert!(message.ends_with("not today"), "{message}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::client::DEADLINE, wait).await.expect("the change acts in time");
    server.stop().await;
}
