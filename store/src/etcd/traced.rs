//! Spans of calls, under the names that etcd gives them, and of their way through the log.
use std::sync::Arc;

use mainstay_base::telemetry::trace::{self, Delivery, Incoming, Span, SpanContext, Tracer};
use tokio::time::Instant;
use tonic::Code;

use super::router::Request;
use crate::Store;
use crate::api::{OpResponse, Revision, TxnResponse, WriteTimes};

/// The span of a gRPC call. As with etcd, whoever may call may say that its trace goes on here.
pub(super) fn call(tracer: &Tracer, request: &Request) -> Span {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let remote = header("traceparent").and_then(|parent| SpanContext::parse(parent, header("tracestate")));
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let mut span = tracer.request(Incoming { remote, trusted: true }, path.clone(), Instant::now());
    if span.is_recorded() {
        span.set("rpc.system", "grpc");
        if let Some((service, method)) = path.split_once('/') {
            span.set("rpc.service", service);
            span.set("rpc.method", method);
        }
    }
    span
}

/// Ends the span of a call.
pub(super) fn ended(mut span: Span, code: Code) {
    if span.is_recorded() {
        span.set("rpc.grpc.status_code", i64::from(code as i32));
        let is_fault = matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        );
        if is_fault {
            span.fail(format!("{code:?}"));
        }
    }
}

/// A write that is traced, or not.
pub(super) struct TracedWrite {
    span: Span,
    times: Option<Arc<WriteTimes>>,
}

impl TracedWrite {
    /// Begins the span of a write below that of its call; the handle is the one to write with.
    pub(super) fn begin(name: &'static str, store: Store) -> (Store, Self) {
        let span = trace::child(name);
        if !span.is_recorded() {
            return (store, Self { span, times: None });
        }
        // A leader elsewhere says there what it does with the write.
        let parent = span.place().map(|place| place.context().parent_header()).unwrap_or_default();
        let times = Arc::new(WriteTimes::with_note(parent));
        (store.timed(&times), Self { span, times: Some(times) })
    }

    /// Ends it. `wrote` is the revision that it made, if it did: watchers that are told of that are part of the trace.
    pub(super) fn end<T, E: std::fmt::Display>(
        mut self,
        result: &Result<T, E>,
        wrote: impl FnOnce(&T) -> Option<Revision>,
    ) {
        let Some(times) = self.times else { return };
        for stretch in times.stretches() {
            let figures = stretch.figures.into_iter().map(|(name, value)| (name, value.into()));
            self.span.past(stretch.name, (stretch.began, stretch.ended), figures.collect());
        }
        match result {
            Ok(response) => {
                if let (Some(revision), Some(place)) = (wrote(response), self.span.place()) {
                    self.span.set("rev", revision.0);
                    place.tracer().causes().wrote(revision.0, &place);
                }
            }
            Err(error) => self.span.fail(error.to_string()),
        }
    }
}

/// Whether a transaction wrote anything: then its revision is its own.
pub(super) fn wrote(response: &TxnResponse) -> bool {
    response.responses.iter().any(|response| match response {
        OpResponse::Put(_) => true,
        OpResponse::Delete(gone) => gone.deleted > 0,
        OpResponse::Range(_) => false,
        OpResponse::Txn(inner) => wrote(inner),
    })
}

/// A watch was told of a revision.
pub(super) fn delivered(tracer: &Tracer, revision: Revision, began: Instant) {
    let attributes = vec![("rev", revision.0.into())];
    tracer.causes().delivered(revision.0, Delivery { began, ended: Instant::now(), attributes });
}
