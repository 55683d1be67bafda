//! A small HTTP client: one TLS connection per request, so that nothing is hidden by a pool.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mainstay_apiserver_server::config::PemPair;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long any one step of a test may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    /// The JSON of an answer with this code.
    pub(crate) fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    pub(crate) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    pub(crate) fn new(addr: SocketAddr, ca_pem: &[u8], identity: Option<&PemPair>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let tls = match identity {
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(&pair.cert_pem).collect::<Result<_, _>>().unwrap();
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&pair.key_pem).unwrap())
                    .unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        Self { addr, tls: Arc::new(tls) }
    }

    /// A TLS connection, for raw bytes.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let name = ServerName::from(self.addr.ip());
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.unwrap()
    }

    /// A TLS connection that has agreed on HTTP/2, for raw bytes.
    pub(crate) async fn connect_http2(&self) -> TlsStream<TcpStream> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { addr: self.addr, tls: Arc::new(tls) }.connect().await
    }

    /// An HTTP/2 connection and its sender.
    pub(crate) async fn http2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let io = TokioIo::new(self.connect_http2().await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
        #[allow(clippy::disallowed_methods, reason = "a test's client, ended by its connection")]
        let _task = tokio::spawn(connection);
        sender
    }

    /// A watch whose answer is never read.
    pub(crate) async fn raw_watch(&self, path: &str) -> TlsStream<TcpStream> {
        let mut stream = self.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        #[allow(clippy::disallowed_methods, reason = "a test's client, ended by its connection")]
        let _task = tokio::spawn(connection);
        tokio::time::timeout(DEADLINE, sender.send_request(request))
            .await
            .expect("an answer in time")
            .unwrap()
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Full::new(body.into())).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes =
            tokio::time::timeout(DEADLINE, body.collect()).await.expect("a body in time").unwrap().to_bytes();
        Answer { code: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], Bytes::new()).await
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.call(Method::GET, path, &[("accept", accept)], Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let content_type = format!("application/{kind}-patch+json");
        self.call(Method::PATCH, path, &[("content-type", &content_type)], body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], Bytes::new()).await
    }

    /// Opens a watch and checks that it started.
    pub(crate) async fn watch(&self, path: &str, accept: &str) -> Stream {
        let request = Request::builder().uri(path).header("host", "test").header("accept", accept);
        let response = self.send(request.body(Full::default()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        Stream { body: response.into_body(), buffer: BytesMut::new(), lines: VecDeque::new(), content_type }
    }
}

/// A stream of watch events.
pub(crate) struct Stream {
    body: Incoming,
    pub(crate) buffer: BytesMut,
    lines: VecDeque<Value>,
    pub(crate) content_type: String,
}

impl Stream {
    /// The next JSON event, `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if !self.fill().await {
                return None;
            }
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                self.lines.push_back(serde_json::from_slice(&line).unwrap());
            }
        }
    }

    /// Reads more bytes; false at the end.
    pub(crate) async fn fill(&mut self) -> bool {
        let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("an event in time");
        match frame {
            Some(Ok(frame)) => {
                self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    /// The next event that is no bookmark, as `TYPE name`.
    pub(crate) async fn event(&mut self) -> String {
        loop {
            let event = self.next().await.expect("one more event");
            if event["type"] != "BOOKMARK" {
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
                return format!("{} {name}", event["type"].as_str().unwrap());
            }
        }
    }
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str, labels: &Value, data: &Value) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": data})
}
