//! Traces over OTLP: one from a request to `mainstay apiserver` through `mainstay store` to the watchers of both, received by
//! a collector in this process.

use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mainstay_proto_wire::otlp;
use otlp::span::SpanKind;
use otlp::trace_service_server::{TraceService, TraceServiceServer};
use tower_service::Service as _;

use crate::Server;
use crate::apiserver::{ApiServer, lines};
use crate::cluster::{Cluster, Version, free_ports, until};

/// A span, and the service that sent it.
#[derive(Clone, Debug)]
struct Received {
    service: String,
    span: otlp::Span,
}

/// What arrived.
#[derive(Clone, Default)]
struct Arrived {
    spans: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl TraceService for Arrived {
    async fn export(
        &self,
        request: tonic::Request<otlp::ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<otlp::ExportTraceServiceResponse>, tonic::Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let service = attributes.iter().find(|one| one.key == "service.name").cloned();
            let value = service.and_then(|one| one.value).and_then(|value| value.value);
            let Some(otlp::any_value::Value::StringValue(service)) = value else {
                return Err(tonic::Status::invalid_argument("no service.name"));
            };
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let received = spans.map(|span| Received { service: service.clone(), span });
            self.spans.lock().unwrap().extend(received);
        }
        Ok(tonic::Response::new(otlp::ExportTraceServiceResponse::default()))
    }
}

/// A collector of traces; it ends with the test.
struct Collector {
    arrived: Arrived,
    address: String,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let arrived = Arrived::default();
        let taken = arrived.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                taken.connections.fetch_add(1, Ordering::SeqCst);
                let service = TraceServiceServer::new(taken.clone());
                let answer = service_fn(move |request| {
                    let mut service = service.clone();
                    async move { Ok::<_, Infallible>(service.call(request).await.unwrap()) }
                });
                #[allow(clippy::disallowed_methods, reason = "ends with the test's runtime")]
                let _task = tokio::spawn(async move {
                    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    // A client that ends is no matter.
                    drop(http.serve_connection(TokioIo::new(stream), answer).await);
                });
            }
        });
        Self { arrived, address, _runtime: runtime }
    }

    fn spans(&self) -> Vec<Received> {
        self.arrived.spans.lock().unwrap().clone()
    }
}

impl Received {
    fn is(&self, service: &str, name: &str, kind: SpanKind) -> bool {
        self.service == service && self.span.name == name && self.span.kind == i32::from(kind)
    }
}

/// The child of `parent` with that service, name and kind.
fn child<'r>(
    all: &'r [Received],
    parent: &Received,
    (service, name, kind): (&str, &str, SpanKind),
) -> &'r Received {
    let found = all.iter().find(|one| {
        one.is(service, name, kind)
            && one.span.trace_id == parent.span.trace_id
            && one.span.parent_span_id == parent.span.span_id
    });
    let of_trace: Vec<_> = all
        .iter()
        .filter(|one| one.span.trace_id == parent.span.trace_id)
        .map(|one| (&one.service, &one.span.name, one.span.kind))
        .collect();
    let found =
        found.unwrap_or_else(|| panic!("{service} {name} is not below {}: {of_trace:?}", parent.span.name));
    assert!(found.span.start_time_unix_nano <= found.span.end_time_unix_nano);
    found
}

fn api_server(dir: &Path, store: &Server, collector: &Collector) -> ApiServer {
    let file = dir.join("tracing.yaml");
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: {}\nsamplingRatePerMillion: 1000000\n",
        collector.address
    );
    std::fs::write(&file, text).unwrap();
    let flags = ["--tracing-config-file", file.to_str().unwrap()];
    ApiServer::start_with(&dir.join("data"), free_ports(1)[0], &store.url, &flags)
}

#[test]
fn one_trace_leads_from_a_request_through_the_stores_log_to_the_watchers() {
    let collector = Collector::start();
    let dir = tempfile::tempdir().unwrap();
    let address = format!("--distributed-tracing-address={}", collector.address);
    let store =
        Server::start(&dir.path().join("store"), &["--experimental-enable-distributed-tracing", &address]);
    let server = api_server(dir.path(), &store, &collector);
    let mut watch = server
        .command(&["get", "configmaps", "--watch", "-o", "name"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let seen = lines(watch.stdout.take().unwrap());
    // The watch stands once it shows something.
    server.kubectl(&["create", "configmap", "first"]);
    until("the watch shows the first", || seen.try_iter().any(|name| name == "configmap/first"));
    server.kubectl(&["create", "configmap", "traced"]);
    until("the watch shows the second", || seen.try_iter().any(|name| name == "configmap/traced"));
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!((server.terminate(), store.terminate()), (Some(0), Some(0)));

    let all = collector.spans();
    let request = "POST /api/v1/namespaces/{:namespace}/configmaps";
    let root =
        all.iter().rfind(|one| one.is("apiserver", request, SpanKind::Server)).expect("the request's span");
    assert!(root.span.parent_span_id.is_empty());
    let internal = SpanKind::Internal;
    let create = child(&all, root, ("apiserver", "Create", internal));
    let stored = child(&all, create, ("apiserver", "Create etcd3", internal));
    let call = child(&all, stored, ("apiserver", "etcdserverpb.KV/Txn", SpanKind::Client));
    let answered = child(&all, call, ("etcd", "etcdserverpb.KV/Txn", SpanKind::Server));
    let txn = child(&all, answered, ("etcd", "txn", internal));
    for stretch in ["raft propose", "raft log sync", "raft commit", "raft apply"] {
        child(&all, txn, ("etcd", stretch, internal));
    }
    child(&all, txn, ("etcd", "watch event", SpanKind::Producer));
    child(&all, call, ("apiserver", "watch event", SpanKind::Producer));
}

/// Whoever leads, two of three members send a write to it: their traces go on there.
#[test]
fn a_trace_goes_on_where_a_write_is_sent_to_the_leader() {
    let collector = Collector::start();
    let cluster = Cluster::start_with(3, |member| {
        let address = format!("--distributed-tracing-address={}", collector.address);
        let service = format!("--distributed-tracing-service-name=m{member}");
        let all = [
            "--enable-distributed-tracing",
            &address,
            &service,
            "--distributed-tracing-sampling-rate=1000000",
        ];
        all.map(str::to_owned).to_vec()
    });
    let put = |url: &str| {
        let mut put = Version::V3_5.command();
        let output = put.args(["--endpoints", url, "put", "greeting", "hello"]).output().unwrap();
        assert!(output.status.success(), "{}", crate::text(&output));
    };
    let internal = SpanKind::Internal;
    // The leader may change meanwhile, so that a write is looked for that went the whole way.
    until("the spans of a write from two members are one trace", || {
        cluster.urls.iter().for_each(|url| put(url));
        let all = collector.spans();
        let forwards = all.iter().filter(|one| one.span.name == "raft forward");
        forwards.into_iter().any(|forward| {
            let is_beside = |one: &&Received| {
                one.span.trace_id == forward.span.trace_id
                    && one.span.parent_span_id == forward.span.parent_span_id
                    && one.service != forward.service
            };
            let names: Vec<&str> = all.iter().filter(is_beside).map(|one| one.span.name.as_str()).collect();
            let parent = all.iter().find(|one| one.span.span_id == forward.span.parent_span_id);
            parent.is_some_and(|parent| parent.is(&forward.service, "put", internal))
                && ["raft propose", "raft apply"].iter().all(|name| names.contains(name))
        })
    });
}

#[test]
fn nothing_is_sent_where_nothing_is_traced() {
    let collector = Collector::start();
    let dir = tempfile::tempdir().unwrap();
    let address = format!("--distributed-tracing-address={}", collector.address);
    let store = Server::start(dir.path(), &[&address, "--distributed-tracing-sampling-rate=1000000"]);
    assert_eq!(store.etcdctl(&["put", "greeting", "hello"]), "OK\n");
    assert_eq!(store.terminate(), Some(0));
    assert_eq!(collector.arrived.connections.load(Ordering::SeqCst), 0);
    assert!(collector.spans().is_empty());
}
