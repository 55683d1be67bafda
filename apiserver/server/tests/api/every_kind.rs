//! Every stored kind, taken through its life by the same steps: what is true of one kind is true of all.

use http::Method;
use mainstay_apiserver_kinds as kinds;
use mainstay_apiserver_machinery::kind::{Action, Kind};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::client::Client;
use crate::server::TestServer;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

pub(crate) fn examples() -> Vec<Value> {
    let text = include_str!("../data/examples.yaml");
    serde_yaml_ng::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap()).collect()
}

fn collection(kind: &Kind) -> String {
    let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let namespace = if kind.namespaced { "/namespaces/default" } else { "" };
    format!("{root}/{}{namespace}/{}", kind.version, kind.plural)
}

async fn live(client: &Client, kind: &Kind, example: &Value) {
    let name = example["metadata"]["name"].as_str().unwrap();
    let all = collection(kind);
    let one = format!("{all}/{name}");

    let made = client.post(&all, example).await.expect(201);
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!(kind.kind), &json!(kind.api_version())));
    // The version may be newer already: a quota's usage is counted right after it is made.
    let read = client.get(&one).await.expect(200);
    assert_eq!(read["metadata"]["uid"], made["metadata"]["uid"]);
    let version = read["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(client.post(&all, example).await.code, 409, "{kind:?} exists");

    let list = client.get(&all).await.expect(200);
    assert_eq!(list["kind"], kind.list_kind, "{kind:?}");
    let listed = list["items"].as_array().unwrap().iter().any(|item| item["metadata"]["name"] == name);
    assert!(listed, "{kind:?} is listed");
    let table = client.get_as(&one, TABLE).await.expect(200);
    let cells = table["rows"][0]["cells"].as_array().unwrap().len();
    assert_eq!(cells, table["columnDefinitions"].as_array().unwrap().len(), "{kind:?}");

    let selector = format!("fieldSelector=metadata.name%3D{name}&resourceVersion={version}");
    let mut watch = client.watch(&format!("{all}?watch=1&{selector}"), "application/json").await;
    let patched = client.patch(&one, "merge", &json!({"metadata": {"labels": {"touched": "yes"}}})).await;
    assert_eq!(patched.expect(200)["metadata"]["labels"]["touched"], "yes", "{kind:?}");
    assert_eq!(watch.event().await, format!("MODIFIED {name}"), "{kind:?}");

    // The same object, back in protobuf: nothing is lost on either way.
    let bytes = client.get_as(&one, PROTOBUF).await;
    assert!(bytes.bytes.starts_with(b"k8s\0"), "{kind:?}");
    let headers = [("content-type", PROTOBUF), ("accept", "application/json")];
    let put = client.call(Method::PUT, &one, &headers, bytes.bytes.clone()).await.expect(200);
    assert_eq!(put, client.get(&one).await.expect(200), "{kind:?}");
    assert_eq!(put["metadata"]["resourceVersion"], patched.json()["metadata"]["resourceVersion"], "{kind:?}");

    for sub in kind.subresources {
        if matches!(sub.action, Action::Status | Action::Scale(_)) {
            let answer = client.get(&format!("{one}/{}", sub.name)).await.expect(200);
            assert_eq!(answer["kind"], sub.kind, "{kind:?}/{}", sub.name);
        }
    }

    client.delete(&one).await.expect(200);
    let gone = client.get(&one).await;
    // Some wait for a finalizer; all are on their way.
    if gone.code == 404 {
        assert_eq!(watch.event().await, format!("DELETED {name}"), "{kind:?}");
    } else {
        assert!(gone.expect(200)["metadata"]["deletionTimestamp"].is_string(), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stored_kind_can_be_made_read_watched_changed_and_deleted() {
    let server = TestServer::start().await;
    let client = server.admin();
    let account = json!({"metadata": {"name": "default"}});
    client.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let mut examples = examples();
    // These are changed by their own tasks at once: tests/api/custom, aggregation and flow_control take them through their
    // lives.
    let lively = [
        &kinds::CUSTOM_RESOURCE_DEFINITION,
        &kinds::API_SERVICE,
        &kinds::FLOW_SCHEMA,
        &kinds::VALIDATING_ADMISSION_POLICY,
    ];
    let stored = |kind: &&&Kind| kind.is_stored() && !lively.contains(*kind);
    for kind in kinds::all().iter().filter(stored) {
        let version = kind.api_version();
        let at = examples.iter().position(|one| one["kind"] == kind.kind && one["apiVersion"] == *version);
        let example = examples.swap_remove(at.unwrap_or_else(|| panic!("{kind:?} needs an example")));
        println!("{kind:?}");
        live(&client, kind, &example).await;
    }
    let is_lively = |one: &Value| lively.iter().any(|kind| one["kind"] == kind.kind);
    examples.retain(|one| !is_lively(one));
    assert!(examples.is_empty(), "every example is of a kind that is built: {examples:?}");
    server.stop().await;
}
