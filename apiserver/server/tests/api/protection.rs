//! What keeps the server up: room for requests, panics, HTTP/2 bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::Request;
use http_body_util::{BodyExt, Full};
use mainstay_apiserver_server::request::RequestContext;
use mainstay_apiserver_server::types::{
    self, AdmissionRequest, Admit, Assembly, Attributes, Authenticate, AuthnError, Authorize, Decision,
    Endpoint, EndpointKey, Identity, UserInfo, Verdict,
};
use mainstay_proto_api::Status;
use rustls_pki_types::CertificateDer;
use serde_json::json;

use crate::client::{DEADLINE, config_map};
use crate::server::{TestServer, limits};

/// Lets everybody do everything.
struct Open;

impl Authenticate for Open {
    fn authenticate<'a>(
        &'a self,
        _parts: &'a http::request::Parts,
        _certs: &'a [CertificateDer<'static>],
    ) -> BoxFuture<'a, Result<Identity, AuthnError>> {
        let user = UserInfo { name: "test".into(), ..UserInfo::default() };
        Box::pin(async { Ok(Identity { user: user.into(), ..Identity::default() }) })
    }
}

impl Authorize for Open {
    fn ask<'a>(&'a self, _user: &'a UserInfo, _attributes: &'a Attributes) -> Verdict<'a> {
        Verdict::Now(Decision::Allow(String::new()))
    }
}

impl Admit for Open {
    fn mutate<'a>(&'a self, _request: &'a mut AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async { Ok(()) })
    }

    fn validate<'a>(&'a self, _request: &'a AdmissionRequest) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async { Ok(()) })
    }
}

struct Panics;

impl Endpoint for Panics {
    fn call(
        &self,
        _context: RequestContext,
        _request: types::Request,
    ) -> BoxFuture<'_, Result<types::Response, Status>> {
        Box::pin(async { panic!("on purpose") })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_500_and_the_server_lives() {
    let server = TestServer::assembled(|_registry| Assembly {
        authenticator: Arc::new(Open),
        authorizer: Arc::new(Open),
        admission: Arc::new(Open),
        endpoints: vec![(EndpointKey::new("", "pods", "exec"), Arc::new(Panics) as Arc<dyn Endpoint>)],
    })
    .await;
    let client = server.anonymous();
    let answer = client.get("/api/v1/namespaces/a/pods/p/exec").await;
    assert_eq!((answer.code, answer.reason().as_str()), (500, "InternalError"), "B061");
    assert!(answer.json()["message"].as_str().unwrap().contains("panic"));
    client
        .post("/api/v1/namespaces/a/configmaps", &config_map("x", &json!({}), &json!({})))
        .await
        .expect(201);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_says_429_and_when_to_come_back() {
    let mut limits = limits();
    limits.inflight_reads_max = 0;
    limits.inflight_writes_max = 0;
    limits.long_running_max = 1;
    limits.request_timeout = Duration::from_secs(8);
    let server = TestServer::with(limits).await;
    let turned_away = server.anonymous().get("/version?timeout=400ms").await;
    assert_eq!((turned_away.code, turned_away.header("retry-after")), (429, "1"));
    assert_eq!(
        &*turned_away.bytes, b"Too many requests, please try again later.\n",
        "as upstream: plain text"
    );
    assert!(!turned_away.header("x-kubernetes-pf-flowschema-uid").is_empty());
    let admin = server.admin();
    assert_eq!(admin.get("/version").await.code, 200, "administrators are never turned away");
    let path = "/api/v1/namespaces?watch=1&resourceVersion=0";
    let first = admin.watch(path, "application/json").await;
    assert_eq!(admin.get(path).await.code, 429, "watches have a bound of their own");
    drop(first);
    let freed = async {
        while admin.call(http::Method::GET, &format!("{path}&timeoutSeconds=1"), &[], "").await.code == 429 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, freed).await.expect("a closed watch makes room");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_carries_many_requests_at_once() {
    let server = TestServer::start().await;
    let sender = server.admin().http2().await;
    let uri = format!("https://{}/api/v1/namespaces", server.server.local_addr());
    let requests = (0..200).map(|_| {
        let (mut sender, uri) = (sender.clone(), uri.clone());
        async move {
            let response =
                sender.send_request(Request::get(uri).body(Full::<Bytes>::default()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap().to_bytes().len()
        }
    });
    let lengths = tokio::time::timeout(DEADLINE, futures::future::join_all(requests)).await.unwrap();
    assert!(lengths.iter().all(|length| *length == lengths[0]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_close_their_connection_only() {
    let server = TestServer::start().await;
    let admin = server.admin();
    let mut sender = admin.http2().await;
    let uri = format!("https://{}/api/v1/namespaces?watch=1&resourceVersion=0", server.server.local_addr());
    let mut sent = 0;
    for _ in 0..20_000 {
        if sender.is_closed() || sender.ready().await.is_err() {
            break;
        }
        // Dropped at once: the stream is reset.
        let request = Request::get(uri.clone()).body(Full::<Bytes>::default()).unwrap();
        drop(futures::future::poll_immediate(sender.send_request(request)).await);
        sent += 1;
        if sent % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(admin.get("/readyz/ping").await.code, 200, "B055, after {sent} resets");
    let freed = async {
        loop {
            let metrics = String::from_utf8(admin.get("/metrics").await.bytes.to_vec()).unwrap();
            let open = metrics
                .lines()
                .find(|l| l.starts_with("apiserver_longrunning_requests{") && l.contains("\"namespaces\""));
            if open.is_none_or(|line| line.ends_with(" 0")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, freed).await.expect("reset watches leave nothing behind");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_never_read_are_cut_and_delay_nobody() {
    let mut limits = limits();
    limits.long_running_max = 400;
    limits.write_stall_timeout = Duration::from_secs(2);
    let server = TestServer::with(limits).await;
    let admin = server.admin();
    let path = "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0";
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(admin.watch("/api/v1/secrets?watch=1&resourceVersion=0", "application/json").await);
    }
    let mut deaf = Vec::new();
    for _ in 0..99 {
        deaf.push(admin.raw_watch(path).await);
    }
    let mut reader = admin.watch(path, "application/json").await;
    assert_eq!(admin.get(path).await.code, 429, "B044: above the cap");
    // Far more than what the sockets of those who do not read can hold.
    let data = json!({"k": "x".repeat(512 << 10)});
    for at in 0..24 {
        let name = format!("big-{at}");
        admin
            .post("/api/v1/namespaces/default/configmaps", &config_map(&name, &json!({}), &data))
            .await
            .expect(201);
        let accepted = tokio::time::Instant::now();
        assert_eq!(reader.event().await, format!("ADDED {name}"));
        assert!(accepted.elapsed() < Duration::from_secs(1), "B044: {:?}", accepted.elapsed());
    }
    // One slot each is free again once they are cut.
    let cut = async {
        loop {
            let metrics = String::from_utf8(admin.get("/metrics").await.bytes.to_vec()).unwrap();
            let open = metrics
                .lines()
                .find(|l| l.starts_with("apiserver_longrunning_requests{") && l.contains("\"configmaps\""));
            if open.is_some_and(|line| line.ends_with(" 1")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), cut).await.expect("B044: slow readers are cut");
    drop((idle, deaf));
    server.stop().await;
}
