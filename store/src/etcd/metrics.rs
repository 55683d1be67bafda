//! `/metrics`: what Prometheus scrapes, under etcd's names, so that its dashboards and alerts work.
use mainstay_base::telemetry::{MetricsError, encode_text, process_metrics};
use prometheus::Registry;

use super::face::Face;
use super::{ETCD_VERSION, refusal};
use crate::api::{Leadership, Status};

/// The registry of a server.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) registry: Registry,
}

impl Metrics {
    pub(super) fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        process_metrics(&registry)?;
        Ok(Self { registry })
    }

    /// The text of a scrape.
    pub(super) async fn text(&self, face: &Face) -> Result<String, tonic::Status> {
        let status = face.store.status().await.map_err(|error| refusal::of_range(&error))?;
        let registered = encode_text(&self.registry);
        let mut text = registered.map_err(|error| tonic::Status::internal(error.to_string()))?;
        let figures = Figures { leadership: *face.leadership.borrow(), status };
        text.extend(METRICS.iter().map(|metric| metric_text(metric, &figures)));
        let member_id = format!("{:x}", figures.status.member_id);
        text.extend([
            info_text("etcd_server_id", "server_id", &member_id),
            info_text("etcd_server_version", "server_version", ETCD_VERSION),
        ]);
        Ok(text)
    }
}

/// What the metrics are read from, taken once for a scrape.
struct Figures {
    status: Status,
    leadership: Leadership,
}

struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Figures) -> u64,
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Figures) -> u64) -> Metric {
    Metric { name, kind: "gauge", help, value }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Figures) -> u64) -> Metric {
    Metric { name, kind: "counter", help, value }
}

const METRICS: &[Metric] = &[
    gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", |figures| {
        u64::from(figures.leadership.leader.is_some())
    }),
    gauge(
        "etcd_server_is_leader",
        "Whether or not this member is a leader. 1 if is, 0 otherwise.",
        |figures| u64::from(figures.leadership.is_leader),
    ),
    gauge(
        "etcd_server_is_learner",
        "Whether or not this member is a learner. 1 if is, 0 otherwise.",
        |figures| u64::from(figures.leadership.is_learner),
    ),
    counter(
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        |figures| figures.status.raft_index,
    ),
    counter(
        "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.",
        |figures| figures.status.applied_index,
    ),
    gauge(
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the underlying database physically allocated in bytes.",
        |figures| figures.status.db_size_bytes,
    ),
    gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
        |figures| figures.status.db_size_in_use_bytes,
    ),
    gauge("etcd_debugging_mvcc_current_revision", "The current revision of store.", |figures| {
        figures.status.revision.0 as u64
    }),
    gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction in store.",
        |figures| figures.status.compacted.0 as u64,
    ),
    gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", |figures| {
        figures.status.watchers as u64
    }),
];

fn metric_text(metric: &Metric, figures: &Figures) -> String {
    let Metric { name, kind, help, value } = metric;
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {}\n", value(figures))
}

/// A metric that only names something.
fn info_text(name: &str, label: &str, value: &str) -> String {
    format!("# TYPE {name} gauge\n{name}{{{label}=\"{value}\"}} 1\n")
}
