//! Groups and versions that another server answers, by a real TLS server behind an `ExternalName` Service.

use serde_json::{Value, json};

use crate::client::{Client, DEADLINE};
use crate::server::TestServer;
use crate::tls_peer::{Asked, Does, Peer};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const REMOTE: &str = "/apis/metrics.example.com/v1";

/// An extension server with one resource.
pub(crate) fn extension(asked: &Asked) -> Does {
    let path = asked.target.split('?').next().unwrap_or_default();
    match path {
        REMOTE => Does::Answer(
            200,
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.example.com/v1", "resources": [
                {"name": "samples", "singularName": "sample", "namespaced": true, "kind": "Sample", "verbs": ["get", "list"], "shortNames": ["smp"]},
                {"name": "samples/status", "singularName": "", "namespaced": true, "kind": "Sample", "verbs": ["get"]}]}),
        ),
        "/openapi/v3" => Does::Answer(
            200,
            json!({"paths": {"apis/metrics.example.com/v1": {"serverRelativeURL": "/openapi/v3/apis/metrics.example.com/v1?hash=X"}}}),
        ),
        "/openapi/v3/apis/metrics.example.com/v1" => {
            Does::Answer(200, json!({"openapi": "3.0.0", "info": {"title": "samples"}}))
        }
        "/openapi/v2" => Does::Answer(
            200,
            json!({"swagger": "2.0",
                "paths": {
                    "/apis/metrics.example.com/v1/namespaces/{namespace}/samples": {"get": {"operationId": "listSamples",
                        "parameters": [{"$ref": "#/parameters/limit"}],
                        "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/com.example.Sample"}}}}},
                    "/apis/metrics.example.com/v2/samples": {"get": {}}, "/api/v1/pods": {"get": {"operationId": "evil"}}},
                "parameters": {"limit": {"name": "limit", "in": "query", "type": "integer"}},
                "definitions": {
                    "com.example.Sample": {"type": "object", "description": "A sample.", "properties": {
                        "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}, "value": {"type": "number"}},
                        "x-kubernetes-group-version-kind": [{"group": "metrics.example.com", "version": "v1", "kind": "Sample"}]},
                    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "description": "Not ours."},
                    "unused": {"type": "string"}}}),
        ),
        _ if path.ends_with("/samples/gone") => Does::Answer(
            404,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no such sample"}),
        ),
        _ => Does::Answer(
            200,
            json!({"kind": "SampleList", "apiVersion": "metrics.example.com/v1", "metadata": {}, "items": []}),
        ),
    }
}

/// A Service that leads to the machine itself, and an APIService behind it.
pub(crate) async fn register(client: &Client, peer: &Peer) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peer"},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    client.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    let api = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.metrics.example.com"},
        "spec": {"group": "metrics.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "caBundle": peer.ca_bundle(), "service": {"namespace": "default", "name": "peer", "port": peer.addr.port()}}});
    client.post(SERVICES, &api).await.expect(201);
}

/// Waits until the condition `Available` has this status and reason; its message.
pub(crate) async fn available(client: &Client, status: &str, reason: &str) -> String {
    let path = format!("{SERVICES}?watch=1&fieldSelector=metadata.name%3Dv1.metrics.example.com");
    let mut watch = client.watch(&path, "application/json").await;
    loop {
        let event = watch.next().await.expect("one more event");
        for condition in event["object"]["status"]["conditions"].as_array().into_iter().flatten() {
            if condition["status"] == status && condition["reason"] == reason {
                return condition["message"].as_str().unwrap().to_owned();
            }
        }
    }
}

async fn until_discovered(client: &Client) -> Value {
    let wait = async {
        loop {
            let groups = client.get("/apis").await.expect(200);
            let found =
                groups["groups"].as_array().unwrap().iter().find(|one| one["name"] == "metrics.example.com");
            if let Some(found) = found {
                return found.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the group is shown in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_to_the_extension_server_in_the_users_name() {
    let server = TestServer::start().await;
    let client = server.admin();
    let peer = Peer::start(&server, extension).await;
    register(&client, &peer).await;
    assert_eq!(available(&client, "True", "Passed").await, "all checks passed");
    let group = until_discovered(&client).await;
    assert_eq!(group["preferredVersion"]["groupVersion"], "metrics.example.com/v1");

    let samples = format!("{REMOTE}/namespaces/default/samples");
    let headers = [("x-remote-user", "root")];
    let list = client.call(http::Method::GET, &format!("{samples}?limit=5"), &headers, "").await.expect(200);
    assert_eq!(list["kind"], "SampleList");
    let asked = peer.asked().into_iter().find(|asked| asked.target.contains("limit=5")).unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("GET", format!("{samples}?limit=5").as_str())
    );
    assert_eq!(asked.caller.as_deref(), Some("front-proxy-client"), "the front proxy shows its certificate");
    assert_eq!(asked.header("x-remote-user"), "admin", "what a client claims is dropped");
    let groups: Vec<_> = asked.headers.get_all("x-remote-group").iter().collect();
    assert_eq!(groups, ["system:masters", "system:authenticated"]);
    let gone = client.get(&format!("{samples}/gone")).await.expect(404);
    assert_eq!(gone["message"], "no such sample");
    let made = client.post(&samples, &json!({"kind": "Sample"})).await;
    assert_eq!(made.code, 200);
    let posted = peer.asked().into_iter().find(|asked| asked.method == "POST").unwrap();
    assert_eq!(posted.json(), json!({"kind": "Sample"}));

    // The request is authorized here, before it is carried.
    let before = peer.asked().len();
    let refused = server.user("jane", &[]).get(&samples).await.expect(403);
    assert!(refused["message"].as_str().unwrap().contains("User \"jane\" cannot list resource \"samples\""));
    let carried = peer.asked()[before..].iter().any(|asked| asked.target.contains("samples"));
    assert!(!carried);

    let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = client.get_as("/apis", discovery).await.expect(200);
    let item = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["metadata"]["name"] == "metrics.example.com")
        .unwrap();
    let version = &item["versions"][0];
    assert_eq!(
        (&version["freshness"], &version["resources"][0]["shortNames"]),
        (&json!("Current"), &json!(["smp"]))
    );
    assert_eq!(version["resources"][0]["subresources"][0]["subresource"], "status");
    let index = client.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/metrics.example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(client.get(url).await.expect(200)["info"]["title"], "samples");
    one_document_is_made_of_both(&client).await;
    server.stop().await;
}

/// OpenAPI v2 of both servers, as JSON and as protobuf.
async fn one_document_is_made_of_both(client: &Client) {
    let document = client.get("/openapi/v2").await.expect(200);
    let paths = &document["paths"];
    let get = &paths["/apis/metrics.example.com/v1/namespaces/{namespace}/samples"]["get"];
    assert_eq!((&get["operationId"], &get["parameters"][0]["in"]), (&json!("listSamples"), &json!("query")));
    assert!(
        paths["/apis/metrics.example.com/v2/samples"].is_null(),
        "another version has its own APIService"
    );
    assert_ne!(paths["/api/v1/pods"]["get"]["operationId"], "evil");
    let definitions = &document["definitions"];
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    assert_eq!(
        definitions["com.example.Sample"]["properties"]["metadata"]["$ref"],
        format!("#/definitions/{meta}_v2"),
        "another definition of a name that is taken is renamed"
    );
    assert_eq!(definitions[format!("{meta}_v2")]["description"], "Not ours.");
    assert!(definitions[meta]["properties"].is_object() && definitions["unused"].is_null());

    let media = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let binary = client.get_as("/openapi/v2", media).await;
    assert_eq!(binary.code, 200);
    // A path or a definition with a name: field 1 is the name, field 2 what it names.
    let names = |name: &str| {
        let length = u8::try_from(name.len()).unwrap();
        let field = [&[0x0a, length][..], name.as_bytes(), &[0x12]].concat();
        binary.bytes.windows(field.len()).any(|part| part == field)
    };
    assert!(names("/apis/metrics.example.com/v1/namespaces/{namespace}/samples"));
    assert!(names("com.example.Sample") && names(&format!("{meta}_v2")) && names(meta));
    assert!(!names("/apis/metrics.example.com/v2/samples") && !names("unused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_server_that_is_not_there_is_told_as_upstream_does() {
    let server = TestServer::start().await;
    let client = server.admin();
    let peer = Peer::start(&server, |_| Does::Answer(500, json!({}))).await;
    register(&client, &peer).await;
    let message = available(&client, "False", "FailedDiscoveryCheck").await;
    assert!(message.starts_with("failing or missing response from https://localhost:"), "{message}");
    assert!(message.contains(": bad status from https://"), "{message}");
    let answer = client.get(&format!("{REMOTE}/samples")).await;
    assert_eq!((answer.code, &answer.bytes[..]), (503, b"service unavailable\n".as_slice()));
    client.delete("/api/v1/namespaces/default/services/peer").await.expect(200);
    assert_eq!(
        available(&client, "False", "ServiceNotFound").await,
        "service/peer in \"default\" is not present"
    );
    client.delete(&format!("{SERVICES}/v1.metrics.example.com")).await.expect(200);
    let wait = async {
        while client.get(&format!("{REMOTE}/samples")).await.code != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the route goes in time");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_this_server_have_their_api_services() {
    let server = TestServer::start().await;
    let client = server.admin();
    let wait = async {
        loop {
            let apps = client.get(&format!("{SERVICES}/v1.apps")).await;
            if apps.code == 200 {
                return apps.json();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let apps = tokio::time::timeout(DEADLINE, wait).await.expect("it is made in time");
    assert_eq!(apps["spec"]["groupPriorityMinimum"], 17_800);
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
    let trust = client
        .get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
        .await
        .expect(200);
    assert_eq!(trust["data"]["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
    assert!(
        trust["data"]["requestheader-client-ca-file"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE")
    );
    server.stop().await;
}
