//! Answers that clients and people read word for word, one row each: what is asked, the code, and the message.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client, config_map};
use crate::custom::{definition, install, version};
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

#[tokio::test(flavor = "multi_thread")]
async fn names_and_options_that_are_none_are_told_as_upstream_does() {
    let server = TestServer::start().await;
    let client = server.admin();
    for method in [Method::GET, Method::DELETE] {
        let wanted = (400, r#"Name parameter invalid: "a%b": may not contain '%'"#);
        check(&client, method, &format!("{MAPS}/a%25b"), &[], wanted).await;
    }
    client.post(MAPS, &config_map("a", &json!({}), &json!({}))).await.expect(201);
    let path = format!("{MAPS}/a");
    let json = [("content-type", "application/json")];
    for (body, message) in [
        ("{", "couldn't get version/kind; json parse error: unexpected end of JSON input"),
        (
            r#"{"gracePeriodSeconds": "x"}"#,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
    ] {
        let answer = client.call(Method::DELETE, &path, &json, body).await;
        assert_eq!((answer.code, answer.json()["message"].as_str().unwrap()), (500, message), "{body}");
    }
    client.get(&path).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_with_its_owners_is_stored_without_them_but_by_an_apply() {
    let server = TestServer::start().await;
    let client = server.admin();
    // 1.5 MiB is the limit: 60,000 entries of 16 bytes are below it, and the paths to them as well are not.
    let data: serde_json::Map<String, Value> =
        (0..60_000).map(|i| (format!("key-{i:05}"), Value::from("v"))).collect();
    let map = config_map("big", &json!({}), &Value::Object(data));
    let made = client.post(MAPS, &map).await.expect(201);
    assert_eq!(made["metadata"].get("managedFields"), None);
    let path = format!("{MAPS}/big");
    let changed = client.patch(&path, "merge", &json!({"data": {"key-00000": "w"}})).await.expect(200);
    assert_eq!(
        (&changed["data"]["key-00000"], changed["metadata"].get("managedFields")),
        (&json!("w"), None)
    );
    let mut applied = map.clone();
    applied["metadata"]["name"] = Value::from("other");
    let apply = format!("{MAPS}/other?fieldManager=me");
    let yaml = [("content-type", "application/apply-patch+yaml")];
    client.call(Method::PATCH, &apply, &yaml, applied.to_string()).await.expect(413);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_of_jobs_that_leaves_their_pods_is_told_so() {
    let server = TestServer::start().await;
    let client = server.admin();
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = |name: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}}})
    };
    let told = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
    for name in ["a", "b", "c"] {
        client.post(jobs, &job(name)).await.expect(201);
    }
    let quiet = client.delete(&format!("{jobs}/a?propagationPolicy=Background")).await;
    assert_eq!((quiet.code, warnings(&quiet)), (200, Vec::<String>::new()));
    for path in [format!("{jobs}/b"), jobs.to_owned()] {
        let answer = client.delete(&path).await;
        assert_eq!((answer.code, warnings(&answer)), (200, vec![told.to_owned()]), "{path}");
    }
    server.stop().await;
}

/// The texts of an answer's warnings.
fn warnings(answer: &Answer) -> Vec<String> {
    let texts = answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap());
    let inner = |text: &str| {
        text.strip_prefix("299 - \"").and_then(|text| text.strip_suffix('"')).unwrap().to_owned()
    };
    texts.map(|text| inner(text).replace("\\\"", "\"")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_warned_of() {
    let server = TestServer::start().await;
    let client = server.admin();
    let core = "/api/v1/namespaces/default";
    let endpoints = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
    assert_eq!(warnings(&client.get(&format!("{core}/endpoints")).await), [endpoints]);
    let rows = [
        (
            format!("{core}/services?dryRun=All"),
            json!({"metadata": {"name": "s", "annotations": {"service.kubernetes.io/topology-aware-hints": "auto"}}, "spec": {
                "type": "ExternalName", "externalName": "a.example.com", "externalIPs": ["FD00:0::1"],
                "trafficDistribution": "PreferClose"}}),
            vec![
                "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
                r#"spec.externalIPs[0]: IPv6 address "FD00:0::1" should be in RFC 5952 canonical format ("fd00::1")"#,
                r#"spec.externalIPs is ignored when spec.type is "ExternalName""#,
                r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#,
            ],
        ),
        (
            format!("{core}/persistentvolumeclaims?dryRun=All"),
            json!({"metadata": {"name": "c", "annotations": {"volume.beta.kubernetes.io/storage-class": "x"}}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
            vec![
                r#"metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead"#,
            ],
        ),
        (
            format!("{core}/serviceaccounts?dryRun=All"),
            json!({"metadata": {"name": "a", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}),
            vec![
                "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets",
            ],
        ),
        (
            "/api/v1/persistentvolumes?dryRun=All".to_owned(),
            json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Recycle", "hostPath": {"path": "/x"}}}),
            vec![
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            ],
        ),
        (
            "/api/v1/nodes?dryRun=All".to_owned(),
            json!({"metadata": {"name": "n"}, "spec": {"externalID": "x"}}),
            vec!["spec.externalID: this field is deprecated, and is unused by Kubernetes"],
        ),
        (
            format!("{core}/secrets?dryRun=All"),
            json!({"metadata": {"name": "t"}, "type": "kubernetes.io/tls", "stringData": {"tls.crt": "none", "tls.key": "none"}}),
            vec!["tls: failed to find any PEM data in certificate input"],
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses?dryRun=All".to_owned(),
            json!({"metadata": {"name": "r"}, "handler": "h", "scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}}}),
            vec![r#"scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead"#],
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies?dryRun=All".to_owned(),
            json!({"metadata": {"name": "n"}, "spec": {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "FD00::/64"}}]}]}}),
            vec![
                r#"spec.egress[0].to[0].ipBlock.cidr: IPv6 CIDR value "FD00::/64" should be in RFC 5952 canonical format ("fd00::/64")"#,
            ],
        ),
    ];
    for (path, object, wanted) in rows {
        let answer = client.post(&path, &object).await;
        assert_eq!(warnings(&answer), wanted, "{path}: {answer:?}");
        answer.expect(201);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deprecated_version_is_told_to_readers_and_old_finalizers_are_taken() {
    let server = TestServer::start().await;
    let client = server.admin();
    let mut v1 = version("v1", &json!({"type": "object"}));
    v1["deprecated"] = json!(true);
    let crd = definition("old.example.com", "Note", "Namespaced", &json!([v1]));
    install(&client, &crd).await;
    let path = "/apis/old.example.com/v1/namespaces/default/notes";
    let deprecated = "old.example.com/v1 Note is deprecated";
    assert_eq!(warnings(&client.get(path).await), [deprecated]);
    let note = json!({"apiVersion": "old.example.com/v1", "kind": "Note", "metadata": {"name": "n",
        "finalizers": ["finalizer.example.com", "mine"]}});
    let made = client.post(path, &note).await;
    let prefer = |name: &str, path: &str| {
        format!(
            "metadata.finalizers: \"{name}\": prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        )
    };
    let mut found = warnings(&made);
    found.sort();
    let mut wanted = vec![
        deprecated.to_owned(),
        prefer("finalizer.example.com", " including a path (/)"),
        prefer("mine", ""),
    ];
    wanted.sort();
    made.expect(201);
    assert_eq!(found, wanted);
    let patched = client.patch(&format!("{path}/n"), "merge", &json!({"metadata": {"finalizers": []}})).await;
    assert_eq!(warnings(&patched), [deprecated]);
    patched.expect(200);
    let map = json!({"metadata": {"name": "m", "finalizers": ["mine"]}});
    let refused = client.post(MAPS, &map).await.expect(422);
    assert!(
        refused["message"].as_str().unwrap().contains("neither a standard finalizer name"),
        "built-in kinds are strict"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_object_of_the_kind_are_told_as_upstream_does() {
    let server = TestServer::start().await;
    let client = server.admin();
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
    let parse = "couldn't get version/kind; json parse error: ";
    let struct_type = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    let rows = [
        ("application/json", "", format!("{unrecognized}{parse}unexpected end of JSON input (<empty>)")),
        (
            "application/json",
            "[1]",
            format!(
                "{unrecognized}{parse}json: cannot unmarshal array into Go value of type {struct_type} (5b315d)"
            ),
        ),
        (
            "application/json",
            r#"{"kind": "Pod", "apiVersion": "v1"}"#,
            r#"Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion"#.to_owned(),
        ),
        (
            "application/json",
            r#"{"kind": "Shirt"}"#,
            r#"Shirt in version "v1" cannot be handled as a ConfigMap: no kind "Shirt" is registered for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#.to_owned(),
        ),
        (
            "application/json",
            r#"{"apiVersion": "apps/v1"}"#,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#.to_owned(),
        ),
        (
            "application/json",
            r#"{"apiVersion": "v2"}"#,
            "the API version in the data (v2) does not match the expected API version (v1)".to_owned(),
        ),
        (
            "application/json",
            r#"{"data": {"k": 1}}"#,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string"#.to_owned(),
        ),
    ];
    for (media, body, wanted) in rows {
        let answer = client.call(Method::POST, MAPS, &[("content-type", media)], body).await;
        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.code, message), (400, wanted), "{body}");
    }
    // What follows the type cannot be read: the beginning is shown.
    let broken = r#"{"kind": "ConfigMap", "data": {"key": tru}}"#;
    let answer = client.call(Method::POST, MAPS, &[("content-type", "application/json")], broken).await;
    let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with(&format!("{unrecognized}{parse}")), "{message}");
    assert!(message.ends_with(r#" ({"kind": "ConfigMap", "data":  ...)"#), "{message}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_whose_results_are_no_objects_are_told_as_upstream_does() {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &json!({"metadata": {"name": "m"}})).await.expect(201);
    let path = format!("{MAPS}/m");
    let strict = format!("{path}?fieldValidation=Strict");
    let unknown = json!({"dat": {"b": 1, "a": "x"}});

    let mistyped = client.patch(&path, "merge", &json!({"data": {"k": 1}})).await.expect(422);
    let message = mistyped["message"].as_str().unwrap();
    assert!(message.starts_with(r#" "" is invalid: patch: Invalid value: "{"#), "{message}");
    let why = "json: cannot unmarshal number into Go struct field ConfigMap.data of type string";
    assert!(message.ends_with(&format!(": {why}")), "{message}");
    assert_eq!(
        (&mistyped["reason"], &mistyped["details"]["causes"][0]["field"]),
        (&json!("Invalid"), &json!("patch"))
    );

    let refused = client.patch(&strict, "strategic-merge", &unknown).await.expect(422);
    assert_eq!(
        refused["message"],
        r#" "" is invalid: patch: Invalid value: "map[dat:map[a:x b:1]]": strict decoding error: unknown field "dat""#
    );
    let warned = client.patch(&path, "merge", &unknown).await;
    assert_eq!(warnings(&warned), [r#"unknown field "dat""#]);
    warned.expect(200);
    let twice = [("content-type", "application/merge-patch+json")];
    let answer = client.call(Method::PATCH, &path, &twice, r#"{"data": {"k": "1", "k": "2"}}"#).await;
    assert_eq!(warnings(&answer), [r#"duplicate field "data.k""#]);
    assert_eq!(answer.expect(200)["data"]["k"], "2");
    server.stop().await;
}
