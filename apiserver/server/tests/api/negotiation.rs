//! Formats: JSON, YAML, protobuf, tables, metadata only.

use http::Method;
use mainstay_apiserver_machinery::{protobuf, schema};
use serde_json::json;

use crate::client::config_map;
use crate::server::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_goes_in_and_comes_out() {
    let server = TestServer::start().await;
    let client = server.admin();
    let tree = mainstay_apiserver_machinery::value!({"metadata": {"name": "pb"}, "data": {"k": "v"}});
    let ty = schema::lookup("core/v1.ConfigMap").unwrap();
    let mut message = Vec::new();
    protobuf::encode(&tree, ty, &mut message).unwrap();
    let body = protobuf::envelope::wrap(&mainstay_proto_api::Gvk::new("", "v1", "ConfigMap"), &message);
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let answer = client.call(Method::POST, MAPS, &headers, body).await;
    assert_eq!((answer.code, answer.header("content-type")), (201, PROTOBUF));
    let envelope = protobuf::envelope::unwrap(&answer.bytes).unwrap();
    let stored = protobuf::decode(envelope.raw, ty).unwrap();
    assert_eq!(stored.path_str(&["metadata", "name"]), Some("pb"));
    assert_eq!(client.get(&format!("{MAPS}/pb")).await.expect(200)["data"]["k"], "v");

    let list = client.get_as(MAPS, PROTOBUF).await;
    let envelope = protobuf::envelope::unwrap(&list.bytes).unwrap();
    assert_eq!(envelope.kind, "ConfigMapList");
    let list = protobuf::decode(envelope.raw, schema::lookup("core/v1.ConfigMapList").unwrap()).unwrap();
    assert!(list.path_list(&["items"]).iter().any(|item| item.path_str(&["metadata", "name"]) == Some("pb")));
    assert!(list.path_str(&["metadata", "resourceVersion"]).is_some());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_goes_in_and_comes_out() {
    let server = TestServer::start().await;
    let client = server.admin();
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ya\ndata:\n  k: \"1\"\n";
    let answer = client.call(Method::POST, MAPS, &[("content-type", "application/yaml")], body).await;
    assert_eq!(answer.expect(201)["data"]["k"], "1");
    let text = client.get_as(&format!("{MAPS}/ya"), "application/yaml").await;
    assert_eq!(text.header("content-type"), "application/yaml");
    assert!(
        String::from_utf8_lossy(&text.bytes).contains("\n  k: '1'\n"),
        "{}",
        String::from_utf8_lossy(&text.bytes)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_columns_and_rows() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &config_map("t", &json!({}), &json!({"a": "1", "b": "2"}))).await.expect(201);
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = client.get_as(&format!("{MAPS}/t"), accept).await.expect(200);
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "t");
    assert_eq!(table["rows"][0]["cells"][1], 2);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = client.get_as(&format!("{MAPS}?includeObject=Object"), accept).await.expect(200);
    let row = whole["rows"].as_array().unwrap().iter().find(|row| row["cells"][0] == "t").unwrap();
    assert_eq!(row["object"]["data"]["a"], "1");
    let none = client.get_as(&format!("{MAPS}?includeObject=None"), accept).await.expect(200);
    assert!(none["rows"][0]["object"].is_null());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_alone_is_served() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &config_map("m", &json!({"l": "x"}), &json!({"secret": "no"}))).await.expect(201);
    let one = client
        .get_as(&format!("{MAPS}/m"), "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
        .await
        .expect(200);
    assert_eq!(
        (&one["kind"], &one["metadata"]["labels"]["l"]),
        (&json!("PartialObjectMetadata"), &json!("x"))
    );
    assert!(one["data"].is_null());
    let list = client
        .get_as(MAPS, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
        .await
        .expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    server.stop().await;
}
