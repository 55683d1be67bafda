//! Spans become OTLP's messages, and go to the collector over gRPC.

use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use mainstay_base::lifecycle::{SystemClock, Tasks};
use mainstay_base::telemetry::trace::{
    Datum, Export, ExportError, Kind, Record, Sampler, Source, SpanContext, Tracer, TracerConfig,
};
use mainstay_proto_wire::otlp;
use otlp::any_value::Value;
use otlp::span::{Link, SpanKind};
use otlp::status::StatusCode;
use otlp::trace_service_client::TraceServiceClient;
use tonic::transport::Channel;

use super::TracesConfig;

/// W3C's flag of a trace that is recorded.
const SAMPLED: u32 = 1;

/// Begins to trace. Spans are sent by a task of `tasks`, which must end after what is traced.
///
/// # Errors
/// The collector's address is none.
pub(crate) fn start(config: &TracesConfig, tasks: &Tasks) -> anyhow::Result<Tracer> {
    let channel = config.collector.connect().context("the collector of traces")?;
    let source = Source { service: config.service.clone(), instance: config.instance.clone() };
    let settings = TracerConfig::new(source, Sampler::per_million(config.per_million));
    let exporter = Box::new(Exporter { client: TraceServiceClient::new(channel) });
    Tracer::start(settings, exporter, Arc::new(SystemClock), tasks).context("counting spans")
}

/// Sends spans to one collector.
struct Exporter {
    client: TraceServiceClient<Channel>,
}

impl Export for Exporter {
    fn export<'a>(
        &'a self,
        source: &'a Source,
        spans: Vec<Record>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ExportError>> + Send + 'a>> {
        Box::pin(async move {
            let number = spans.len();
            let answer = self.client.clone().export(request(source, spans)).await;
            match answer.map(|answer| answer.into_inner().partial_success) {
                Ok(None) => Ok(()),
                Ok(Some(partial)) if partial.rejected_spans <= 0 => Ok(()),
                Ok(Some(partial)) => {
                    let spans = usize::try_from(partial.rejected_spans).unwrap_or(number);
                    Err(ExportError { spans, why: partial.error_message })
                }
                Err(status) => {
                    let why = format!("{}: {:#}", status.code(), anyhow::Error::new(status));
                    Err(ExportError { spans: number, why })
                }
            }
        })
    }
}

/// A batch as OTLP has it.
fn request(source: &Source, spans: Vec<Record>) -> otlp::ExportTraceServiceRequest {
    let mut attributes = vec![text("service.name", &source.service)];
    attributes.extend(source.instance.as_ref().map(|instance| text("service.instance.id", instance)));
    let scope = otlp::InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: mainstay_base::version().to_owned(),
    };
    let spans = spans.into_iter().map(span).collect();
    otlp::ExportTraceServiceRequest {
        resource_spans: vec![otlp::ResourceSpans {
            resource: Some(otlp::Resource { attributes }),
            scope_spans: vec![otlp::ScopeSpans { scope: Some(scope), spans }],
        }],
    }
}

fn span(record: Record) -> otlp::Span {
    let kind = match record.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
    };
    let status = record.failed.map(|message| otlp::Status { message, code: StatusCode::Error.into() });
    let nanos = |moment: time::OffsetDateTime| u64::try_from(moment.unix_timestamp_nanos()).unwrap_or(0);
    otlp::Span {
        trace_id: record.context.trace.to_bytes().to_vec(),
        span_id: record.context.span.to_bytes().to_vec(),
        trace_state: record.context.state,
        parent_span_id: record.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
        name: record.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanos(record.began),
        end_time_unix_nano: nanos(record.began + record.took),
        attributes: record.attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        links: record.links.into_iter().map(link).collect(),
        status,
        flags: SAMPLED,
    }
}

fn link(context: SpanContext) -> Link {
    Link {
        trace_id: context.trace.to_bytes().to_vec(),
        span_id: context.span.to_bytes().to_vec(),
        trace_state: context.state,
    }
}

fn attribute(name: &str, value: Datum) -> otlp::KeyValue {
    let value = match value {
        Datum::Text(text) => Value::StringValue(text),
        Datum::Number(number) => Value::IntValue(number),
        Datum::Truth(truth) => Value::BoolValue(truth),
    };
    otlp::KeyValue { key: name.to_owned(), value: Some(otlp::AnyValue { value: Some(value) }) }
}

fn text(name: &str, value: &str) -> otlp::KeyValue {
    attribute(name, Datum::Text(value.to_owned()))
}
