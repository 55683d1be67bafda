//! A KMS v2 plugin behind a unix socket, speaking gRPC by hand: it seals by turning bits over.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message as _;
use tempfile::TempDir;
use tokio::net::UnixListener;

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

/// What requests and answers carry first: plain text or cipher text.
#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(bytes = "vec", tag = "1")]
    text: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
}

#[derive(Default)]
struct State {
    key: AtomicUsize,
    fails: AtomicBool,
    calls: Mutex<HashMap<String, usize>>,
}

pub(crate) struct KmsPlugin {
    state: Arc<State>,
    dir: TempDir,
}

impl KmsPlugin {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("kms.sock")).unwrap();
        let state = Arc::new(State::default());
        #[allow(clippy::disallowed_methods, reason = "a test's server, ended by its runtime")]
        let _task = tokio::spawn(run(listener, Arc::clone(&state)));
        Self { state, dir }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.dir.path().join("kms.sock").display())
    }

    pub(crate) fn calls(&self, method: &str) -> usize {
        self.state.calls.lock().get(method).copied().unwrap_or(0)
    }

    /// Seals with another key from now on.
    pub(crate) fn rotate(&self) {
        self.state.key.fetch_add(1, Ordering::SeqCst);
    }

    /// Answers nothing but errors from now on.
    pub(crate) fn fail(&self) {
        self.state.fails.store(true, Ordering::SeqCst);
    }
}

async fn run(listener: UnixListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        #[allow(clippy::disallowed_methods, reason = "a test's server, ended by its runtime")]
        let _task = tokio::spawn(async move {
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let state = Arc::clone(&state);
                async move {
                    let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    Ok::<_, std::convert::Infallible>(answer(&state, &method, &body.slice(5..)))
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A client that goes away ends its connection.
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

type Frames = futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>>;

fn answer(state: &State, method: &str, message: &[u8]) -> http::Response<StreamBody<Frames>> {
    *state.calls.lock().entry(method.to_owned()).or_default() += 1;
    let key_id = format!("key-{}", state.key.load(Ordering::SeqCst));
    let turned = |bytes: &[u8]| -> Vec<u8> { bytes.iter().map(|byte| byte ^ 0x5a).collect() };
    let answered = match method {
        _ if state.fails.load(Ordering::SeqCst) => None,
        "Status" => Some(Status { version: "v2".into(), healthz: "ok".into(), key_id }.encode_to_vec()),
        _ => {
            let text = turned(&Text::decode(message).unwrap_or_default().text);
            let key_id = if method == "Encrypt" { key_id } else { String::new() };
            Some(Text { text, key_id }.encode_to_vec())
        }
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", if answered.is_some() { "0" } else { "13" }.parse().unwrap());
    let mut frames = Vec::new();
    if let Some(message) = answered {
        let mut message_out = vec![0];
        message_out.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        message_out.extend_from_slice(&message);
        frames.push(Ok(Frame::data(Bytes::from(message_out))));
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let body = StreamBody::new(futures::stream::iter(frames));
    http::Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}
