//! Streams through the server to a node agent.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{grant, kubelet};
use crate::client::{Client, DEADLINE};
use crate::server::TestServer;

/// Sends a request as raw bytes and reads the head of the answer.
pub(super) async fn raw(
    client: &Client,
    request: &str,
) -> (String, tokio_rustls::client::TlsStream<tokio::net::TcpStream>) {
    let mut stream = client.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(DEADLINE, stream.read_u8()).await.expect("a head in time").unwrap();
        head.push(byte);
    }
    (String::from_utf8(head).unwrap(), stream)
}

/// An upgrade to `path`.
pub(super) fn upgrade(method: &str, path: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\ncontent-length: 0\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_carries_bytes_both_ways() {
    let server = TestServer::start().await;
    let seen = kubelet::start(&server).await;
    let path = "/api/v1/namespaces/default/pods/p/exec?command=cat&stdin=true&stdout=true";
    let (head, mut stream) = raw(&server.admin(), &upgrade("POST", path)).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut echo)).await.expect("an echo in time").unwrap();
    assert_eq!(&echo, b"hello");
    assert_eq!(*seen.lock(), ["/exec/default/p/c?input=1&output=1&command=cat"]);
    drop(stream);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_node_proxy_reach_the_agent() {
    let server = TestServer::start().await;
    kubelet::start(&server).await;
    let admin = server.admin();
    let log = admin
        .get("/api/v1/namespaces/default/pods/p/log?tailLines=3&insecureSkipTLSVerifyBackend=true")
        .await;
    assert_eq!((log.code, &log.bytes[..]), (200, &b"/containerLogs/default/p/c?tailLines=3"[..]));
    let proxied = admin.get("/api/v1/nodes/n1/proxy/pods?a=b").await;
    assert_eq!((proxied.code, &proxied.bytes[..]), (200, &b"/pods?a=b"[..]));
    let wrong = admin.get("/api/v1/namespaces/default/pods/p/log?container=x").await.expect(400);
    assert_eq!(wrong["message"], "container x is not valid for pod p");
    let refused = admin.get("/api/v1/namespaces/default/pods/p/log?previous=true").await.expect(400);
    assert_eq!(refused["message"], "/containerLogs/default/p/c?previous=true", "the agent's own words");
    assert_eq!(refused["reason"], "BadRequest");
    let plain = admin.post("/api/v1/namespaces/default/pods/p/exec?command=ls", &json!({})).await;
    assert_eq!(plain.code, 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_pods_does_not_run_commands() {
    let server = TestServer::start().await;
    kubelet::start(&server).await;
    grant(
        &server.admin(),
        "jane",
        json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods/exec", "pods"]}]),
    )
    .await;
    let path = "/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=true";
    let (head, _stream) = raw(&server.user("jane", &[]), &upgrade("GET", path)).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    server.stop().await;
}
