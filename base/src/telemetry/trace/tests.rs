//! Spans from their begin to the batch that they are sent in.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::lifecycle::{SystemClock, Tasks};

/// Hands batches over, or refuses them.
struct Handed {
    to: mpsc::Sender<Vec<Record>>,
    refuses: bool,
}

impl Export for Handed {
    fn export<'a>(
        &'a self,
        _source: &'a Source,
        spans: Vec<Record>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ExportError>> + Send + 'a>> {
        Box::pin(async move {
            if self.refuses {
                return Err(ExportError { spans: spans.len(), why: "no".to_owned() });
            }
            self.to
                .send(spans)
                .await
                .map_err(|lost| ExportError { spans: lost.0.len(), why: "gone".to_owned() })
        })
    }
}

struct Rig {
    tracer: Tracer,
    sent: mpsc::Receiver<Vec<Record>>,
    metrics: Registry,
    tasks: Tasks,
}

fn rig(per_million: u32, queue_spans: usize, refuses: bool) -> Rig {
    let tasks = Tasks::new("traces", CancellationToken::new());
    let (to, sent) = mpsc::channel(64);
    let source = Source { service: "test".to_owned(), instance: None };
    let config = TracerConfig { queue_spans, ..TracerConfig::new(source, Sampler::per_million(per_million)) };
    let export = Box::new(Handed { to, refuses });
    let tracer = Tracer::start(config, export, Arc::new(SystemClock), &tasks).unwrap();
    let metrics = Registry::new();
    tracer.register(&metrics).unwrap();
    Rig { tracer, sent, metrics, tasks }
}

impl Rig {
    fn count(&self, outcome: &str) -> u64 {
        let text = crate::telemetry::encode_text(&self.metrics).unwrap();
        let name = format!("mainstay_trace_spans_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }

    /// Ends the tracer, and gives all that was sent.
    async fn all(&mut self) -> Vec<Record> {
        self.tasks.close_and_join(Duration::from_secs(10)).await.unwrap();
        let mut all = Vec::new();
        while let Ok(batch) = self.sent.try_recv() {
            all.extend(batch);
        }
        all
    }
}

fn remote(sampled: bool) -> SpanContext {
    let flags = u8::from(sampled);
    SpanContext::parse(
        &format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags:02x}"),
        Some("a=1"),
    )
    .unwrap()
}

fn named<'r>(all: &'r [Record], name: &str) -> &'r Record {
    all.iter().find(|record| record.name == name).unwrap_or_else(|| panic!("{name} is not in {all:?}"))
}

#[tokio::test]
async fn spans_of_one_request_are_one_trace_with_parents() {
    let mut rig = rig(1_000_000, 100, false);
    let span = rig.tracer.request(Incoming::default(), "GET", Instant::now());
    let (span, ()) = within(span, async {
        let mut child = child("txn");
        child.set("rev", 7_i64);
        child.fail("broken");
        let moment = Instant::now();
        child.past("sync", (moment, moment + Duration::from_millis(3)), Vec::new());
        assert!(outgoing().unwrap().0.ends_with("-01"));
    })
    .await;
    drop(span);
    let all = rig.all().await;
    let (root, txn, sync) = (named(&all, "GET"), named(&all, "txn"), named(&all, "sync"));
    assert_eq!((root.parent, root.kind), (None, Kind::Server));
    assert_eq!((txn.parent, sync.parent), (Some(root.context.span), Some(txn.context.span)));
    assert!(all.iter().all(|record| record.context.trace == root.context.trace));
    assert_eq!((sync.took, txn.failed.as_deref()), (Duration::from_millis(3), Some("broken")));
    assert_eq!(txn.attributes, [("rev", Datum::Number(7))]);
    assert_eq!((rig.count("exported"), rig.count("dropped")), (3, 0));
}

#[tokio::test]
async fn a_trace_goes_on_for_whom_we_trust_and_others_begin_their_own() {
    let mut rig = rig(1_000_000, 100, false);
    let of = |sampled, trusted| Incoming { remote: Some(remote(sampled)), trusted };
    drop(rig.tracer.request(of(true, true), "trusted", Instant::now()));
    drop(rig.tracer.request(of(false, true), "unsampled", Instant::now()));
    drop(rig.tracer.request(of(false, false), "public", Instant::now()));
    let all = rig.all().await;
    let (trusted, public) = (named(&all, "trusted"), named(&all, "public"));
    assert_eq!((trusted.context.trace, trusted.parent), (remote(true).trace, Some(remote(true).span)));
    assert_eq!(trusted.context.state, "a=1");
    assert_eq!((public.parent, public.links.as_slice()), (None, &[remote(false)][..]));
    assert_ne!(public.context.trace, remote(true).trace);
    assert_eq!(all.len(), 2, "what a trusted client does not record is not recorded: {all:?}");
}

#[tokio::test]
async fn what_is_not_sampled_is_nowhere_but_in_what_others_are_told() {
    let mut rig = rig(0, 100, false);
    let span = rig.tracer.request(Incoming::default(), "GET", Instant::now());
    let (span, ()) = within(span, async {
        assert!(!child("txn").is_recorded());
        assert!(outgoing().unwrap().0.ends_with("-00"));
    })
    .await;
    assert!(!span.is_recorded());
    drop(span);
    assert!(rig.all().await.is_empty());
    assert!(current().is_none() && outgoing().is_none(), "nobody traces here");
}

#[tokio::test]
async fn spans_without_room_are_dropped_and_counted() {
    // The task that sends does not run before the test waits.
    let mut rig = rig(1_000_000, 2, false);
    for _ in 0..5 {
        drop(rig.tracer.request(Incoming::default(), "GET", Instant::now()));
    }
    assert_eq!(rig.count("dropped"), 3);
    assert_eq!(rig.all().await.len(), 2);
}

#[tokio::test]
async fn spans_that_the_collector_refuses_are_counted_and_forgotten() {
    let mut rig = rig(1_000_000, 100, true);
    drop(rig.tracer.request(Incoming::default(), "GET", Instant::now()));
    assert!(rig.all().await.is_empty());
    assert_eq!((rig.count("failed"), rig.count("exported")), (1, 0));
}

#[tokio::test]
async fn an_event_finds_its_write_whoever_comes_first() {
    let mut rig = rig(1_000_000, 100, false);
    let moment = Instant::now();
    let delivery = |to: &str| Delivery { began: moment, ended: moment, attributes: vec![("to", to.into())] };
    let causes = rig.tracer.causes();
    let write = rig.tracer.request(Incoming::default(), "write", moment);
    let place = write.place().unwrap();
    causes.delivered(5, delivery("early"));
    causes.wrote(5, &place);
    causes.delivered(5, delivery("late"));
    causes.delivered(6, delivery("another's"));
    // Takes the place of 5.
    causes.delivered(5 + 1024, delivery("newer"));
    causes.delivered(5, delivery("too late"));
    causes.wrote(5, &place);
    drop(write);
    let all = rig.all().await;
    let write = named(&all, "write").context.span;
    let told: Vec<_> = all.iter().filter(|record| record.name == "watch event").collect();
    let to: Vec<_> = told.iter().map(|record| record.attributes.first().map(|(_, to)| to.clone())).collect();
    assert_eq!(to, [Some("early".into()), Some("late".into())]);
    assert!(told.iter().all(|record| record.parent == Some(write)));
}
