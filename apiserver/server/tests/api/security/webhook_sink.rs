//! A webhook over TLS that keeps what it is sent and answers as told.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mainstay_apiserver_server::outbound::Remote;
use mainstay_base::pki::{Ca, Usage};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsAcceptor;

use crate::client::DEADLINE;
use crate::server::leaf;

type Answer = dyn Fn(&str, &Value) -> (u16, Value) + Send + Sync;

pub(crate) struct Sink {
    url: String,
    ca_pem: Vec<u8>,
    seen: Mutex<mpsc::Receiver<Value>>,
}

impl Sink {
    /// Answers 200 with an empty object.
    pub(crate) async fn start() -> Self {
        Self::answering(|_path, _body| (200, serde_json::json!({}))).await
    }

    pub(crate) async fn answering(
        answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let lifetime = std::time::Duration::from_secs(3600);
        let ca = Ca::generate("sink", OffsetDateTime::now_utc(), lifetime).unwrap();
        let pair = leaf(&ca, "sink", &[], Usage::Server);
        let chain = CertificateDer::pem_slice_iter(&pair.cert_pem).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(&pair.key_pem).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (sender, seen) = mpsc::channel(1024);
        let answer: Arc<Answer> = Arc::new(answer);
        #[allow(clippy::disallowed_methods, reason = "a test's server, ended by its runtime")]
        let _task = tokio::spawn(run(listener, TlsAcceptor::from(Arc::new(config)), sender, answer));
        Self { url, ca_pem: ca.certificate_pem().as_bytes().to_vec(), seen: Mutex::new(seen) }
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote {
            url: self.url.clone(),
            ca_pem: Some(self.ca_pem.clone()),
            server_name: None,
            identity: None,
            bearer_token: None,
        }
    }

    /// The next body that was sent.
    pub(crate) async fn next(&self) -> Value {
        let mut seen = self.seen.lock().await;
        tokio::time::timeout(DEADLINE, seen.recv()).await.expect("a call in time").unwrap()
    }
}

async fn run(listener: TcpListener, acceptor: TlsAcceptor, seen: mpsc::Sender<Value>, answer: Arc<Answer>) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (acceptor, seen, answer) = (acceptor.clone(), seen.clone(), Arc::clone(&answer));
        #[allow(clippy::disallowed_methods, reason = "a test's server, ended by its runtime")]
        let _task = tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (seen, answer) = (seen.clone(), Arc::clone(&answer));
                async move {
                    let path = request.uri().path().to_owned();
                    let bytes = request.into_body().collect().await.unwrap().to_bytes();
                    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                    let (code, answered) = answer(&path, &body);
                    seen.send(body).await.unwrap();
                    let mut response = http::Response::new(Full::new(Bytes::from(answered.to_string())));
                    *response.status_mut() = code.try_into().unwrap();
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            // A client that goes away ends its connection.
            drop(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await,
            );
        });
    }
}
