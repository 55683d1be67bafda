//! Answers that clients and people read word for word, one row each: what is asked, the code, and the message.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, config_map};
use crate::server::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const NOT_ALLOWED: &str = "the server does not allow this method on the requested resource";

async fn check(client: &Client, method: Method, path: &str, headers: &[(&str, &str)], wanted: (u16, &str)) {
    let answer = client.call(method.clone(), path, headers, "").await;
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!((answer.code, message.as_str()), wanted, "{method} {path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_and_methods_that_do_not_fit_are_told_as_upstream_does() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &config_map("a", &json!({}), &json!({"k": "v"}))).await.expect(201);
    for (path, message) in [
        ("configmaps?limit=abc", r#"strconv.ParseInt: parsing "abc": invalid syntax"#),
        (
            "configmaps?timeoutSeconds=99999999999999999999",
            r#"strconv.ParseInt: parsing "99999999999999999999": value out of range"#,
        ),
        (
            "configmaps?resourceVersion=x",
            r#"resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax"#,
        ),
        (
            "configmaps/a?resourceVersion=x",
            r#"resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax"#,
        ),
        ("configmaps?labelSelector=a%3Db%3Dc", "found '=', expected: ',' or 'end of string'"),
        ("configmaps?labelSelector=a%20in%20b", "unable to parse requirement: found 'b' expected: '('"),
        (
            "configmaps?fieldSelector=data.k%3Dv",
            r#""data.k" is not a known field selector: only "metadata.name", "metadata.namespace""#,
        ),
        ("pods?fieldSelector=spec.x%3Dy", "field label not supported: spec.x"),
        ("configmaps/a?export=true", "the export parameter, deprecated since v1.14, is no longer supported"),
        (
            "configmaps/a?timeout=abc",
            r#"invalid timeout specified in the request URL - time: invalid duration "abc""#,
        ),
        (
            "configmaps/a?timeout=5",
            r#"invalid timeout specified in the request URL - time: missing unit in duration "5""#,
        ),
    ] {
        let path = format!("/api/v1/namespaces/default/{path}");
        check(&client, Method::GET, &path, &[], (400, message)).await;
    }
    check(
        &client,
        Method::GET,
        "/api/v1/watch/namespaces/default/configmaps/a?fieldSelector=metadata.name%3Db",
        &[],
        (400, "fieldSelector metadata.name doesn't match requested name"),
    )
    .await;
    let merge = [("content-type", "application/merge-patch+json")];
    for (method, path) in [
        (Method::PUT, MAPS),
        (Method::PATCH, MAPS),
        (Method::POST, "/api/v1/namespaces/default/configmaps/a"),
        (Method::DELETE, "/api/v1/namespaces"),
        (Method::GET, "/apis/authentication.k8s.io/v1/selfsubjectreviews"),
    ] {
        check(&client, method, path, &merge, (405, NOT_ALLOWED)).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_one_object_is_no_list_and_that_of_a_list_is_one() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &config_map("a", &json!({}), &json!({}))).await.expect(201);
    let form = |kind: &str| format!("application/json;as={kind};v=v1;g=meta.k8s.io");
    let (one, many) = (form("PartialObjectMetadata"), form("PartialObjectMetadataList"));
    let path = format!("{MAPS}/a");
    assert_eq!(client.get_as(&path, &one).await.expect(200)["kind"], "PartialObjectMetadata");
    assert_eq!(client.get_as(MAPS, &many).await.expect(200)["kind"], "PartialObjectMetadataList");
    let refused = client.get_as(MAPS, &one).await;
    assert_eq!((refused.code, refused.reason().as_str()), (406, "NotAcceptable"));
    assert_eq!(
        refused.json()["message"],
        "you requested PartialObjectMetadata, but the requested object is a list"
    );
    assert_eq!(client.get_as(&path, &many).await.code, 406);
    let mut watch = client.watch(&format!("{MAPS}?watch=1&resourceVersion=0"), &one).await;
    assert_eq!(watch.next().await.unwrap()["object"]["kind"], "PartialObjectMetadata");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_the_length_of_the_answer_and_no_body_on_both_protocols() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &config_map("a", &json!({}), &json!({"k": "v"}))).await.expect(201);
    let path = format!("{MAPS}/a");
    let whole = client.get(&path).await;
    let head = client.call(Method::HEAD, &path, &[], "").await;
    assert_eq!((head.code, head.bytes.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.bytes.len().to_string());
    let mut sender = client.http2().await;
    for _again in 0..2 {
        let request = http::Request::head(format!("https://test{path}"));
        let response = sender.send_request(request.body(http_body_util::Full::default()).unwrap()).await;
        let response = response.expect("the stream is sound");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-length"], whole.bytes.len().to_string());
        let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("no body");
        assert!(body.to_bytes().is_empty());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_references_that_are_there_twice_are_told_and_taken_out() {
    let server = TestServer::start().await;
    let client = server.admin();
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u1"});
    let mut map = config_map("a", &json!({}), &json!({}));
    map["metadata"]["ownerReferences"] = json!([reference, reference]);
    let made = client.post(MAPS, &map).await;
    let told = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: u1";
    assert_eq!(made.header("warning"), format!("299 - \"{told}\""));
    assert_eq!(made.expect(201)["metadata"]["ownerReferences"], json!([reference]));
    let changed = client
        .patch(
            &format!("{MAPS}/a"),
            "merge",
            &json!({"metadata": {"ownerReferences": [reference, reference]}}),
        )
        .await;
    assert!(changed.header("warning").contains("duplicate UID(s) observed: u1"));
    assert_eq!(changed.expect(200)["metadata"]["ownerReferences"], json!([reference]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_forms_are_still_taken_and_both_numbers_of_an_autoscaler_are_shown() {
    let server = TestServer::start().await;
    let client = server.admin();
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let scaler = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3}});
    let path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    client.post(path, &scaler).await.expect(201);
    let stored = client.get(&format!("{path}/web")).await.expect(200);
    assert_eq!(stored["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));

    let eviction =
        |version: &str| json!({"apiVersion": version, "kind": "Eviction", "metadata": {"name": "none"}});
    let path = "/api/v1/namespaces/default/pods/none/eviction";
    client.post(path, &eviction("policy/v1")).await.expect(404);
    client.post(path, &eviction("policy/v1beta1")).await.expect(404);
    client.post(path, &eviction("policy/v1alpha1")).await.expect(400);

    let made = client.post(MAPS, &config_map("a", &json!({}), &json!({}))).await.expect(201);
    let mut other = made.clone();
    other["metadata"]["uid"] = Value::from("other");
    let refused = client.put(&format!("{MAPS}/a"), &other).await.expect(409);
    let uid = made["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        refused["message"],
        format!(
            "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: other, UID in object meta: {uid}"
        )
    );
    server.stop().await;
}
