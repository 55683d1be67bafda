//! Inputs that must be refused, one row each: what is sent, and the code and reason that must come back. Every row is
//! followed by a request that shows that the server lives on.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Answer, Client, DEADLINE, config_map};
use crate::server::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

struct Row {
    id: &'static str,
    method: Method,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
    codes: &'static [u16],
    reason: &'static str,
}

fn row(id: &'static str, method: Method, path: &str, codes: &'static [u16], reason: &'static str) -> Row {
    Row { id, method, path: path.to_owned(), content_type: JSON, body: Vec::new(), codes, reason }
}

impl Row {
    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn of_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }
}

async fn send(client: &Client, row: &Row) -> Answer {
    let headers: &[(&str, &str)] =
        if row.content_type.is_empty() { &[] } else { &[("content-type", row.content_type)] };
    client.call(row.method.clone(), &row.path, headers, row.body.clone()).await
}

async fn check(rows: Vec<Row>) {
    let server = TestServer::start().await;
    let client = server.admin();
    client.post(MAPS, &config_map("old", &json!({}), &json!({"a": "1"}))).await.expect(201);
    let mut failed = String::new();
    for row in rows {
        let answer = send(&client, &row).await;
        let text = String::from_utf8_lossy(&answer.bytes).chars().take(300).collect::<String>();
        let reason = serde_json::from_slice::<Value>(&answer.bytes)
            .map(|v| v["reason"].as_str().unwrap_or_default().to_owned());
        let held = row.codes.contains(&answer.code)
            && (row.reason.is_empty() || reason.is_ok_and(|r| r == row.reason));
        if !held {
            writeln!(
                failed,
                "{} {} {}: {} {text}",
                row.id,
                row.method,
                &row.path[..row.path.len().min(80)],
                answer.code
            )
            .unwrap();
        }
        assert_eq!(client.get("/readyz/ping").await.code, 200, "the server lives after {}", row.id);
    }
    let old = client.get(&format!("{MAPS}/old")).await.expect(200);
    assert_eq!(old["data"], json!({"a": "1"}), "no row changed the object");
    assert!(failed.is_empty(), "\n{failed}");
    server.stop().await;
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

fn laughs() -> String {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(",");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: laugh}}\n{text}")
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let post = |id, codes, reason| row(id, Method::POST, MAPS, codes, reason);
    let bad = &[400_u16][..];
    let big = config_map("big", &json!({}), &json!({"k": "x"})).to_string();
    let padded = |bytes: usize| format!("{}{}", " ".repeat(bytes.saturating_sub(big.len())), big);
    let secret = json!({"metadata": {"name": "huge"}, "spec": {"x": "y".repeat(2 << 20)}});
    let map = config_map("x", &json!({}), &json!({})).to_string();
    check(vec![
        post("B001", &[413], "RequestEntityTooLarge").body(padded(3 * 1024 * 1024 + 1)),
        row("B002", Method::PATCH, &format!("{MAPS}/old"), &[413, 422], "")
            .of_type("application/merge-patch+json")
            .body(
                json!({"metadata": {"managedFields": secret}, "binaryData": {"a": "QUFB".repeat(500_000)}})
                    .to_string(),
            ),
        post("B004", bad, "BadRequest")
            .body(format!(r#"{{"metadata":{{"name":"deep"}},"data":{}}}"#, nested("[", "]", 9_999))),
        post("B005", bad, "BadRequest")
            .body(b"{\"metadata\":{\"name\":\"u\"},\"data\":{\"k\":\"\xff\xfe\"}}".to_vec()),
        post("B007 truncated", bad, "BadRequest").body(&map[..map.len() - 2]),
        post("B007 garbage", bad, "BadRequest").body(format!("{map} x")),
        post("B007 two documents", bad, "BadRequest").body(format!("{map}{map}")),
        post("B008", bad, "BadRequest"),
        row("B008 put", Method::PUT, &format!("{MAPS}/old"), bad, "BadRequest"),
        post("B010", bad, "BadRequest").of_type("application/yaml").body(laughs()),
        post("B011", bad, "BadRequest").of_type("application/yaml").body("[{".repeat(500_000)),
        post("B013 xml", &[415], "UnsupportedMediaType").of_type("text/xml").body("<a/>"),
        post("B013 utf-16", &[415], "UnsupportedMediaType")
            .of_type("application/json; charset=utf-16")
            .body(map.clone()),
        row("B013 patch", Method::PATCH, &format!("{MAPS}/old"), &[415], "UnsupportedMediaType")
            .of_type("")
            .body("{}"),
        post("B016 magic", bad, "BadRequest").of_type(PROTOBUF).body(b"k9s\0\x0a\x00".to_vec()),
        post("B016 length", bad, "BadRequest")
            .of_type(PROTOBUF)
            .body(b"k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec()),
        post("B016 groups", bad, "BadRequest")
            .of_type(PROTOBUF)
            .body([&b"k8s\0"[..], &[0x0b; 10_000]].concat()),
        post("B016 wire types", bad, "BadRequest").of_type(PROTOBUF).body(b"k8s\0\x0f\x0e".to_vec()),
        post("B017", &[400, 415], "").of_type("application/cbor").body(vec![0x9f; 10_000]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_that_nobody_reads() {
    let server = TestServer::start().await;
    let answer = server.admin().get_as(MAPS, "application/x-nonsense").await;
    assert_eq!((answer.code, answer.reason().as_str()), (406, "NotAcceptable"), "B014");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strictness() {
    let server = TestServer::start().await;
    let client = server.admin();
    let unknown = r#"{"metadata":{"name":"unknown"},"data":{"a":"1"},"spec":{"foo":1}}"#;
    let headers = [("content-type", JSON)];
    let warned = client.call(Method::POST, MAPS, &headers, unknown).await;
    assert_eq!(warned.code, 201, "B019");
    assert_eq!(warned.header("warning"), r#"299 - "unknown field \"spec\"""#, "B019");
    assert!(warned.json()["spec"].is_null(), "B019: the field is dropped");
    let twice = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"a":"1","a":"2"}}}}"#);
    let strict =
        client.call(Method::POST, &format!("{MAPS}?fieldValidation=Strict"), &headers, twice("strict")).await;
    assert_eq!((strict.code, strict.reason().as_str()), (400, "BadRequest"), "B020");
    assert!(
        strict.json()["message"].as_str().unwrap().contains("strict decoding error: duplicate field"),
        "{strict:?}"
    );
    let warned = client.call(Method::POST, MAPS, &headers, twice("warn")).await;
    assert!(warned.header("warning").contains("duplicate field"), "B020");
    assert_eq!(warned.json()["data"]["a"], "2", "B020: the last one wins");
    let ignored =
        client.call(Method::POST, &format!("{MAPS}?fieldValidation=Ignore"), &headers, twice("ignore")).await;
    assert_eq!((ignored.code, ignored.header("warning")), (201, ""));
    assert_eq!(
        client.call(Method::POST, &format!("{MAPS}?fieldValidation=Odd"), &headers, twice("odd")).await.code,
        422
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_identities() {
    let bad = &[400_u16][..];
    let named = |name: &str| config_map(name, &json!({}), &json!({})).to_string();
    let mut rows = vec![
        row("B022 kind", Method::POST, MAPS, bad, "BadRequest")
            .body(r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}"#),
        row("B022 version", Method::POST, MAPS, bad, "BadRequest")
            .body(r#"{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"x"}}"#),
        row("B023 name", Method::PUT, &format!("{MAPS}/old"), bad, "BadRequest").body(named("other")),
        row("B023 namespace", Method::POST, MAPS, bad, "BadRequest")
            .body(r#"{"metadata":{"name":"x","namespace":"kube-system"}}"#),
        row("B025 url", Method::GET, &format!("{MAPS}/a%2fb"), &[404], "NotFound"),
        row(
            "B026 dots",
            Method::GET,
            "/api/v1/namespaces/a/pods/..%2f..%2fsecrets%2fx",
            &[400, 403, 404],
            "",
        ),
        row(
            "B026 encoded dots",
            Method::GET,
            "/api/v1/namespaces/default/%2e%2e/secrets",
            &[400, 403, 404],
            "",
        ),
        row("B026 overlong", Method::GET, "/api/v1/namespaces/%c0%ae/pods", &[400, 403, 404], ""),
        row("B026 dot", Method::GET, "/api/v1/./namespaces", &[400, 403, 404], ""),
        row("B026 slashes", Method::POST, "/api//v1/namespaces", &[400, 403, 404], ""),
        row("B028", Method::POST, MAPS, &[422], "Invalid").body(
            json!({"metadata": {"name": "x", "annotations": {"a": "x".repeat(256 * 1024)}}}).to_string(),
        ),
        row("B029", Method::POST, MAPS, &[422], "Invalid")
            .body(config_map("x", &json!({}), &json!({"k": "x".repeat(1024 * 1024 + 1)})).to_string()),
    ];
    for name in ["../../../etc/passwd", "..", ".", "a/b", "a%2fb", "a\0b", "UPPER", ""] {
        rows.push(row("B025", Method::POST, MAPS, &[422], "Invalid").body(named(name)));
    }
    check(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries() {
    let get =
        |id, query: &str, codes, reason| row(id, Method::GET, &format!("{MAPS}?{query}"), codes, reason);
    let bad = &[400_u16][..];
    let token = |start: &str| {
        format!(
            "continue={}",
            URL_SAFE_NO_PAD.encode(format!(r#"{{"v":"meta.k8s.io/v1","rv":5,"start":"{start}"}}"#))
        )
    };
    let values: Vec<String> = (0..6_000).map(|at| format!("v{at}")).collect();
    check(vec![
        get("B032", &format!("labelSelector=a%20in%20({})", values.join(",")), &[200, 400], ""),
        get("B034", "fieldSelector=spec.nothing%3Dx", bad, "BadRequest"),
        get("B035 garbage", "continue=garbage", bad, "BadRequest"),
        get("B035 other JSON", &format!("continue={}", URL_SAFE_NO_PAD.encode("{}")), bad, "BadRequest"),
        get("B035 dots", &token("../"), bad, "BadRequest"),
        get("B035 other prefix", &token("/registry/secrets/default/x"), bad, "BadRequest"),
        get("B037 limit", "limit=-1", &[200, 400], ""),
        get("B037 large limit", "limit=9223372036854775808", bad, "BadRequest"),
        get("B037 timeout", "timeoutSeconds=-5", &[200, 400], ""),
        get("B038", "resourceVersion=abc", bad, "BadRequest"),
        get("B043", "watch=1&sendInitialEvents=true", &[422], "Invalid"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn patches() {
    let patch = |id, kind: &'static str, body: Value, codes, reason| {
        row(id, Method::PATCH, &format!("{MAPS}/old"), codes, reason).of_type(kind).body(body.to_string())
    };
    let json = "application/json-patch+json";
    let mut bomb = vec![json!({"op": "add", "path": "/data", "value": {"a": "x".repeat(100_000)}})];
    bomb.extend((0..100).map(|at| json!({"op": "copy", "from": "/data/a", "path": format!("/data/k{at}")})));
    let stale = json!({"metadata": {"name": "old", "resourceVersion": "1"}});
    check(vec![
        patch("B046", json, Value::Array(bomb), &[422, 413], ""),
        patch("B047 test", json, json!([{"op": "test", "path": "/data/a", "value": "2"}]), &[422], "Invalid"),
        patch(
            "B047 path",
            json,
            json!([{"op": "add", "path": "/metadata/-/x", "value": 1}]),
            &[422],
            "Invalid",
        ),
        patch(
            "B047 inside",
            json,
            json!([{"op": "move", "from": "/data", "path": "/data/a"}]),
            &[422],
            "Invalid",
        ),
        patch(
            "B049",
            "application/strategic-merge-patch+json",
            json!({"data": {"$patch": "bogus"}}),
            &[400],
            "BadRequest",
        ),
        row("B052", Method::PUT, &format!("{MAPS}/old"), &[409], "Conflict").body(stale.to_string()),
    ])
    .await;
}

/// Sends raw bytes and reads what comes back until the server closes or falls silent.
async fn raw(client: &Client, bytes: &[u8]) -> String {
    let mut stream = client.connect().await;
    // The server may close while we still write: that is an answer too.
    drop(stream.write_all(bytes).await);
    drop(stream.flush().await);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count)) =
        tokio::time::timeout(std::time::Duration::from_secs(2), stream.read(&mut buffer)).await
    {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn code_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed")
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_http_is_refused_and_closed() {
    let server = TestServer::start().await;
    let client = server.admin();
    let post = "POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\n";
    let rows = [
        (
            "B058 both lengths",
            format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("B058 two lengths", format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")),
        ("B058 list of lengths", format!("{post}Content-Length: 5,6\r\n\r\nhello!")),
        ("B058 folded header", "GET /version HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n".to_owned()),
    ];
    for (id, bytes) in rows {
        let answer = raw(&client, bytes.as_bytes()).await;
        assert!(matches!(code_of(&answer), "400" | "closed"), "{id}: {answer}");
        assert_eq!(client.get("/readyz/ping").await.code, 200, "the server lives after {id}");
    }
    // Targets beyond 64 KiB are refused as a whole, where upstream reads up to its header limit.
    for kib in [500, 2048] {
        let long =
            format!("GET /api/v1/pods?labelSelector={} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(kib << 10));
        let answer = raw(&client, long.as_bytes()).await;
        assert!(matches!(code_of(&answer), "431" | "414" | "closed"), "B031, {kib} KiB: {answer}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_nobody_serves() {
    let server = TestServer::start().await;
    let client = server.admin();
    for method in ["TRACE", "PROPFIND"] {
        let answer = raw(
            &client,
            format!("{method} /api/v1/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(code_of(&answer), "405", "B059 {method}: {answer}");
        assert!(answer.contains("MethodNotAllowed"), "{answer}");
    }
    let answer = raw(&client, b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n").await;
    assert_eq!(code_of(&answer), "405", "B059 CONNECT: {answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_cut_at_the_limit() {
    let server = TestServer::start().await;
    let client = server.admin();
    let mut stream = client.connect().await;
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 64 * 1024, " ".repeat(64 * 1024));
    let mut sent = 0_usize;
    // More than the limit and all buffers on the way: the server must stop reading.
    while sent < 64 * 1024 * 1024 {
        match tokio::time::timeout(DEADLINE / 10, stream.write_all(chunk.as_bytes())).await {
            Ok(Ok(())) => sent += chunk.len(),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    assert!(sent < 32 * 1024 * 1024, "B001: the server took {sent} bytes");
    drop(stream);
    let claimed = raw(
        &client,
        format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 10737418240\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(code_of(&claimed), "413", "B001: {claimed}");
    server.stop().await;
}
