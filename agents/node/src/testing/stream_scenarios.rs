//! The kubelet API over real TLS: logs, exec over WebSocket, port-forward through a SPDY tunnel.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use mainstay_base::pki::Usage;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::rig::{DEADLINE, Rig, leaf};
use crate::streams::testing::{HeaderPair, Spdy};

async fn connect(rig: &Rig, name: &str) -> TlsStream<TcpStream> {
    let own = leaf(&rig.ca, name, Usage::Client);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(rig.ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    let chain = CertificateDer::pem_slice_iter(own.certificate_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let tcp = TcpStream::connect(rig.agent.kubelet_addr()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

#[allow(clippy::disallowed_methods, reason = "a test's client connection")]
async fn get(rig: &Rig, name: &str, path: &str) -> (StatusCode, String) {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connect(rig, name).await)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "x").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn socket(rig: &Rig, path: &str, protocol: &str) -> WebSocketStream<TlsStream<TcpStream>> {
    let stream = connect(rig, "kube-apiserver-kubelet-client").await;
    let mut request = format!("wss://{}{path}", rig.agent.kubelet_addr()).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"].to_str().unwrap(), protocol);
    socket
}

async fn rig_with_pod() -> Rig {
    let rig = Rig::new().await;
    rig.pod("web", json!({"containers": [{"name": "app", "image": "app:1"}]}));
    rig.ready("web").await;
    rig
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_served_to_the_api_server_only() {
    let rig = rig_with_pod().await;
    let name = "kube-apiserver-kubelet-client";
    assert_eq!(get(&rig, name, "/healthz").await, (StatusCode::OK, "ok".to_owned()));
    let logs = "/containerLogs/ns/web/app";
    assert_eq!(get(&rig, name, logs).await, (StatusCode::OK, "hello from app\n".to_owned()));
    let stamped = format!("{logs}?timestamps=true&tailLines=1");
    assert_eq!(get(&rig, name, &stamped).await.1, "2024-01-01T00:00:00Z hello from app\n");
    assert_eq!(get(&rig, name, &format!("{logs}?previous=true")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(get(&rig, name, "/containerLogs/ns/none/app").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&rig, "somebody", "/pods").await.0, StatusCode::FORBIDDEN);
    let metrics = get(&rig, name, "/metrics").await.1;
    assert!(
        metrics.contains("kubelet_running_pods 1") && metrics.contains("{container_state=\"running\"} 1")
    );
    let (_, pods) = get(&rig, name, "/pods").await;
    assert_eq!(serde_json::from_str::<Value>(&pods).unwrap()["items"][0]["metadata"]["name"], "web");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_echoes_closes_and_tells_the_exit_code() {
    let rig = rig_with_pod().await;
    let path = "/exec/ns/web/app?command=echo&command=7&input=1&output=1";
    let mut socket = socket(&rig, path, "v5.channel.k8s.io").await;
    socket.send(Message::Binary(Bytes::from_static(b"\0hello"))).await.unwrap();
    // v5: the client closes its standard input.
    socket.send(Message::Binary(Bytes::from_static(&[255, 0]))).await.unwrap();
    let (mut output, mut status) = (Vec::new(), Vec::new());
    let talk = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Binary(bytes) if bytes.first() == Some(&1) => output.extend_from_slice(&bytes[1..]),
                Message::Binary(bytes) if bytes.first() == Some(&3) => status.extend_from_slice(&bytes[1..]),
                _ => {}
            }
        }
    };
    tokio::time::timeout(DEADLINE, talk).await.unwrap();
    assert_eq!(output, b"hello");
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(
        (status["reason"].as_str(), &status["details"]["causes"][0]["message"]),
        (Some("NonZeroExitCode"), &json!("7"))
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_forward_works_through_the_tunnel() {
    let rig = rig_with_pod().await;
    let mut socket = socket(&rig, "/portForward/ns/web", "SPDY/3.1+portforward.k8s.io").await;
    let mut spdy = Spdy::new();
    let pair = |port: &str, id: &str, kind: &str| -> Vec<HeaderPair> {
        [("streamtype", kind), ("port", port), ("requestid", id)]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .to_vec()
    };
    let mut out = BytesMut::new();
    for (id, (port, request, kind)) in
        [("80", "0", "error"), ("80", "0", "data"), ("81", "1", "error"), ("81", "1", "data")]
            .into_iter()
            .enumerate()
    {
        spdy.open(u32::try_from(id * 2 + 1).unwrap(), pair(port, request, kind), &mut out);
    }
    Spdy::data(3, b"hi", true, &mut out);
    // Cut anywhere: frames do not follow messages.
    let rest = out.split_off(11);
    socket.send(Message::Binary(out.freeze())).await.unwrap();
    socket.send(Message::Binary(rest.freeze())).await.unwrap();
    let (mut buffer, mut answer, mut error, mut ended) = (BytesMut::new(), Vec::new(), Vec::new(), 0);
    let talk = async {
        while ended < 4 {
            let message = socket.next().await.unwrap().unwrap();
            if let Message::Binary(bytes) = message {
                buffer.extend_from_slice(&bytes);
            }
            for (stream, bytes, fin) in spdy.take(&mut buffer) {
                match stream {
                    3 => answer.extend_from_slice(&bytes),
                    5 => error.extend_from_slice(&bytes),
                    _ => assert!(!bytes.has_remaining()),
                }
                ended += usize::from(fin);
            }
        }
    };
    tokio::time::timeout(DEADLINE, talk).await.unwrap();
    assert_eq!(answer, b"you said hi");
    assert!(String::from_utf8(error).unwrap().contains("connection refused"));
    rig.stop().await;
}
