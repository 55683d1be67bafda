//! Traces of requests: one from the request to the watchers that are told of it, with the right parents.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use mainstay_base::lifecycle::{SystemClock, Tasks};
use mainstay_base::telemetry::trace::{
    Export, ExportError, Record, Sampler, Source, SpanContext, Tracer, TracerConfig,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, config_map};
use crate::server::TestServer;
use crate::store_rig::StoreKind;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Collected(mpsc::Sender<Vec<Record>>);

impl Export for Collected {
    fn export<'a>(
        &'a self,
        _source: &'a Source,
        spans: Vec<Record>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ExportError>> + Send + 'a>> {
        Box::pin(async move {
            self.0
                .send(spans)
                .await
                .map_err(|lost| ExportError { spans: lost.0.len(), why: "gone".to_owned() })
        })
    }
}

struct Rig {
    server: TestServer,
    spans: mpsc::Receiver<Vec<Record>>,
    tasks: Tasks,
}

impl Rig {
    /// A server that traces so many of a million requests.
    async fn start(per_million: u32) -> Self {
        let tasks = Tasks::new("traces", CancellationToken::new());
        let (to, spans) = mpsc::channel(1024);
        let source = Source { service: "apiserver".to_owned(), instance: None };
        let config = TracerConfig {
            batch_wait: Duration::from_millis(20),
            queue_spans: 100_000,
            ..TracerConfig::new(source, Sampler::per_million(per_million))
        };
        let tracer = Tracer::start(config, Box::new(Collected(to)), Arc::new(SystemClock), &tasks).unwrap();
        let server = TestServer::configured(|config| config.tracer = Some(tracer)).await;
        Self { server, spans, tasks }
    }

    /// Ends the server, then the tracer, and gives every span.
    async fn all(mut self) -> Vec<Record> {
        self.server.stop().await;
        self.tasks.close_and_join(Duration::from_secs(10)).await.unwrap();
        let mut all = Vec::new();
        while let Ok(batch) = self.spans.try_recv() {
            all.extend(batch);
        }
        all
    }
}

/// The spans of the trace of [`PARENT`].
fn of_parent(all: &[Record]) -> Vec<&Record> {
    let trace = SpanContext::parse(PARENT, None).unwrap().trace;
    all.iter().filter(|record| record.context.trace == trace).collect()
}

fn named<'r>(all: &[&'r Record], name: &str) -> &'r Record {
    let found = all.iter().find(|record| record.name == name);
    found.unwrap_or_else(|| {
        panic!("no span {name:?} among {:?}", all.iter().map(|r| &r.name).collect::<Vec<_>>())
    })
}

async fn create(client: &Client, name: &str) {
    let headers = [("content-type", "application/json"), ("traceparent", PARENT)];
    let body = config_map(name, &json!({}), &json!({})).to_string();
    client.call(Method::POST, MAPS, &headers, body).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_is_one_trace_from_the_request_to_the_watch_event() {
    let rig = Rig::start(0).await;
    let client = rig.server.admin();
    let start =
        client.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut watch =
        client.watch(&format!("{MAPS}?watch=1&resourceVersion={start}"), "application/json").await;
    create(&client, "a").await;
    assert_eq!(watch.event().await, "ADDED a");
    let kind = rig.server.store.kind;
    let all = rig.all().await;
    let spans = of_parent(&all);
    assert_eq!(all.len(), spans.len(), "only what a client asked for is recorded");
    let root = named(&spans, "POST /api/v1/namespaces/{:namespace}/configmaps");
    assert_eq!(root.parent, Some(SpanContext::parse(PARENT, None).unwrap().span));
    let (write, below) = match kind {
        StoreKind::Embedded => {
            ("txn", vec!["raft propose", "raft log sync", "raft commit", "raft apply", "watch event"])
        }
        _ => ("etcdserverpb.KV/Txn", vec!["watch event"]),
    };
    let mut parent = root;
    for name in ["Create", "Create etcd3", write] {
        let span = named(&spans, name);
        assert_eq!(span.parent, Some(parent.context.span), "{name}");
        assert!(span.began >= parent.began && span.began + span.took <= parent.began + parent.took, "{name}");
        parent = span;
    }
    for name in below {
        let span = named(&spans, name);
        assert_eq!(span.parent, Some(parent.context.span), "{name}");
        assert!(span.began >= parent.began, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_have_a_request_recorded() {
    let rig = Rig::start(0).await;
    let headers = [("traceparent", PARENT)];
    let stranger = rig.server.user("stranger", &["developers"]);
    stranger.call(Method::GET, MAPS, &headers, "").await.expect(403);
    rig.server.anonymous().call(Method::GET, "/livez", &headers, "").await;
    assert_eq!(rig.all().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_trace_is_only_linked() {
    let rig = Rig::start(1_000_000).await;
    let stranger = rig.server.user("stranger", &["developers"]);
    stranger.call(Method::GET, MAPS, &[("traceparent", PARENT)], "").await.expect(403);
    let all = rig.all().await;
    let request = all.iter().find(|record| !record.links.is_empty()).expect("the request is recorded");
    let parent = SpanContext::parse(PARENT, None).unwrap();
    assert_eq!((request.parent, request.links.as_slice()), (None, &[parent.clone()][..]));
    assert_ne!(request.context.trace, parent.trace);
    assert_eq!(request.name, "GET /api/v1/namespaces/{:namespace}/configmaps");
}
