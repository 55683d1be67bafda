//! How often each method was called and how it ended, under the names of go-grpc-prometheus.
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use mainstay_base::telemetry::trace::Span;
use mainstay_proto_wire::etcd::DESCRIPTORS;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::router::Response;
use super::traced;

const LABELS: [&str; 3] = ["grpc_type", "grpc_service", "grpc_method"];

/// The counters of one method.
#[derive(Clone, Debug)]
pub(super) struct MethodMetrics {
    labels: [String; 3],
    streams: bool,
    started: IntCounter,
    ok: IntCounter,
    handled: IntCounterVec,
    /// How long calls take, if that is to be known.
    handling: Option<Histogram>,
}

/// A call that has begun.
#[derive(Debug)]
pub(super) struct Call {
    metrics: Arc<MethodMetrics>,
    /// When; not looked at if nobody wants to know how long it takes.
    began: Option<Instant>,
    /// Its span, if calls are traced.
    pub(super) span: Span,
}

/// The counters of all methods, by path.
#[derive(Debug)]
pub(super) struct GrpcMetrics {
    methods: HashMap<String, Arc<MethodMetrics>>,
}

impl GrpcMetrics {
    /// With `extensive` it is also measured how long calls take, as with etcd's `--metrics=extensive`.
    pub(super) fn new(registry: &Registry, extensive: bool) -> Result<Self, prometheus::Error> {
        let started = Opts::new("grpc_server_started_total", "Total number of RPCs started on the server.");
        let handled = Opts::new(
            "grpc_server_handled_total",
            "Total number of RPCs completed on the server, regardless of success or failure.",
        );
        let started = IntCounterVec::new(started, &LABELS)?;
        let handled = IntCounterVec::new(handled, &[&LABELS[..], &["grpc_code"]].concat())?;
        registry.register(Box::new(started.clone()))?;
        registry.register(Box::new(handled.clone()))?;
        let handling = if extensive { Some(handling(registry)?) } else { None };
        let pool =
            DescriptorPool::decode(DESCRIPTORS).map_err(|error| prometheus::Error::Msg(error.to_string()))?;
        let mut methods = HashMap::new();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let service = method.parent_service().full_name().to_owned();
            let path = format!("/{service}/{}", method.name());
            let labels = [kind(&method).to_owned(), service, method.name().to_owned()];
            let metrics = MethodMetrics {
                streams: method.is_client_streaming() || method.is_server_streaming(),
                started: started.with_label_values(&labels),
                ok: handled.with_label_values(&[
                    labels[0].as_str(),
                    labels[1].as_str(),
                    labels[2].as_str(),
                    "OK",
                ]),
                handled: handled.clone(),
                handling: handling.as_ref().map(|handling| handling.with_label_values(&labels)),
                labels,
            };
            methods.insert(path, Arc::new(metrics));
        }
        Ok(Self { methods })
    }

    /// A call of a method has begun; none if there is no such method.
    pub(super) fn start(&self, path: &str) -> Option<Call> {
        let metrics = self.methods.get(path)?;
        metrics.started.inc();
        let began = metrics.handling.as_ref().map(|_measured| Instant::now());
        Some(Call { metrics: Arc::clone(metrics), began, span: Span::none() })
    }
}

fn handling(registry: &Registry) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(
        "grpc_server_handling_seconds",
        "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
    );
    let handling = HistogramVec::new(options, &LABELS)?;
    registry.register(Box::new(handling.clone()))?;
    Ok(handling)
}

fn kind(method: &MethodDescriptor) -> &'static str {
    match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => "unary",
        (true, false) => "client_stream",
        (false, true) => "server_stream",
        (true, true) => "bidi_stream",
    }
}

impl Call {
    /// Counts the end of a call: now, or when its stream ends.
    pub(super) fn finish(self, response: Response) -> Response {
        if let Some(status) = Status::from_header_map(response.headers()) {
            self.ended(status.code());
            return response;
        }
        if !self.metrics.streams {
            self.ended(Code::Ok);
            return response;
        }
        response.map(|body| Body::new(Counted { body, call: Some(self) }))
    }

    fn ended(mut self, code: Code) {
        traced::ended(std::mem::take(&mut self.span), code);
        let MethodMetrics { ok, handled, handling, labels, .. } = &*self.metrics;
        if let (Some(handling), Some(began)) = (handling, self.began) {
            handling.observe(began.elapsed().as_secs_f64());
        }
        if code == Code::Ok {
            return ok.inc();
        }
        // Go spells it with one l.
        let code = if code == Code::Cancelled { "Canceled".to_owned() } else { format!("{code:?}") };
        let [kind, service, method] = labels;
        handled.with_label_values(&[kind, service, method, &code]).inc();
    }
}

/// A stream's body, which tells how it ended.
struct Counted {
    body: Body,
    call: Option<Call>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            call.ended(Code::Cancelled);
        }
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
            && let Some(call) = self.call.take()
        {
            call.ended(Status::from_header_map(trailers).map_or(Code::Ok, |status| status.code()));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
