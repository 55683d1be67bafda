//! A node agent that echoes: TLS with a client certificate required, HTTP/1.1 with upgrades.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, LOCATION, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mainstay_base::pki::Usage;
use parking_lot::Mutex;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::pod;
use crate::server::{TestServer, leaf};

/// Paths and queries that reached the agent.
pub(super) type Seen = Arc<Mutex<Vec<String>>>;

/// Starts the agent, and makes its node `n1` and a pod `p` on it.
pub(super) async fn start(server: &TestServer) -> Seen {
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor(server);
    let log = Arc::clone(&seen);
    #[allow(clippy::disallowed_methods, reason = "a test's own server, ended by the runtime")]
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(tcp, acceptor.clone(), Arc::clone(&log)));
        }
    });
    let admin = server.admin();
    super::service_account(&admin, "default", "default").await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    admin.post("/api/v1/nodes", &node).await.expect(201);
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}
    }});
    admin.patch("/api/v1/nodes/n1/status", "merge", &status).await.expect(200);
    admin.post("/api/v1/namespaces/default/pods", &pod("p", &json!({"nodeName": "n1"}))).await.expect(201);
    seen
}

fn acceptor(server: &TestServer) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let pair = leaf(&server.ca, "n1", &[], Usage::Server);
    let chain = CertificateDer::pem_slice_iter(&pair.cert_pem).collect::<Result<_, _>>().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(&pair.key_pem).unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, seen: Seen) {
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(request, &seen))));
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(tls), service)
            .with_upgrades()
            .await,
    );
}

fn answer(mut request: Request<Incoming>, seen: &Seen) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    seen.lock().push(path.clone());
    assert!(!request.headers().contains_key("authorization"));
    let mut response = Response::new(Full::new(Bytes::from(path.clone())));
    if path.starts_with("/redirect") {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert(LOCATION, "http://169.254.169.254/latest/meta-data".parse().unwrap());
    } else if path.contains("command=refuse") {
        *response.status_mut() = StatusCode::FORBIDDEN;
    } else if path.contains("previous=true") {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    } else if let Some(protocol) = request.headers().get(UPGRADE).cloned() {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, "Upgrade".parse().unwrap());
        response.headers_mut().insert(UPGRADE, protocol);
        *response.body_mut() = Full::default();
        let upgraded = hyper::upgrade::on(&mut request);
        #[allow(clippy::disallowed_methods, reason = "a test's own server, ended by the connection")]
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            drop(tokio::io::copy(&mut read, &mut write).await);
        });
    }
    response
}
