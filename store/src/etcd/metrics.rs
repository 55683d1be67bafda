//! `/metrics`: what Prometheus scrapes, under etcd's names, so that its dashboards and alerts work.
//!
//! Most of it is kept by the library and read at a scrape: requests pay for counting, not for metrics. What has no counterpart here has no
//! metric either; decision 0023 lists where a name means something a little different.
use mainstay_base::telemetry::{MetricsError, encode_text, process_metrics};
use prometheus::{IntCounter, Registry};

use super::face::Face;
use super::metrics_text::{bare, histogram, info, labelled, number};
use super::{ETCD_CLUSTER_VERSION, ETCD_VERSION, refusal};
use crate::api::{Figures, Leadership, PeerFigures, RangeError, Status};
use crate::store::Store;

/// The registry of a server.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) registry: Registry,
    pub(super) health_successes: IntCounter,
    pub(super) health_failures: IntCounter,
    /// Bytes on the wire of all connections of clients.
    pub(super) received_bytes: IntCounter,
    pub(super) sent_bytes: IntCounter,
}

impl Metrics {
    pub(super) fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        process_metrics(&registry)?;
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let all = || -> Result<[IntCounter; 4], prometheus::Error> {
            Ok([
                counter("etcd_server_health_success", "The total number of successful health checks")?,
                counter("etcd_server_health_failures", "The total number of failed health checks")?,
                counter(
                    "etcd_network_client_grpc_received_bytes_total",
                    "The total number of bytes received from grpc clients.",
                )?,
                counter(
                    "etcd_network_client_grpc_sent_bytes_total",
                    "The total number of bytes sent to grpc clients.",
                )?,
            ])
        };
        let [health_successes, health_failures, received_bytes, sent_bytes] =
            all().map_err(MetricsError::Prometheus)?;
        Ok(Self { registry, health_successes, health_failures, received_bytes, sent_bytes })
    }

    /// The text of a scrape.
    pub(super) async fn text(&self, face: &Face) -> Result<String, tonic::Status> {
        let registered = encode_text(&self.registry);
        let mut text = registered.map_err(|error| tonic::Status::internal(error.to_string()))?;
        text.push_str(&store_metrics(&face.store).await.map_err(|error| refusal::of_range(&error))?);
        Ok(text)
    }
}

/// The metrics of a store of this process under etcd's names, in Prometheus' text format. What only a server of etcd's API
/// counts (requests, bytes of clients) is not among them.
///
/// # Errors
/// The store does not answer.
pub async fn store_metrics(store: &Store) -> Result<String, RangeError> {
    let scrape = Scrape {
        status: store.status().await?,
        figures: store.figures(),
        leadership: *store.leadership().borrow(),
    };
    let mut text = String::new();
    for metric in METRICS {
        number(&mut text, metric.name, metric.kind, metric.help, (metric.value)(&scrape));
    }
    durations(&mut text, &scrape.figures);
    peers(&mut text, &scrape);
    quota(&mut text, &scrape.status);
    info(
        &mut text,
        "etcd_server_id",
        "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
        ("server_id", &hex(scrape.status.member_id)),
    );
    info(
        &mut text,
        "etcd_server_version",
        "Which version is running. 1 for 'server_version' label with current version.",
        ("server_version", ETCD_VERSION),
    );
    info(
        &mut text,
        "etcd_cluster_version",
        "Which version is running. 1 for 'cluster_version' label with current cluster version",
        ("cluster_version", ETCD_CLUSTER_VERSION.trim_end_matches(".0")),
    );
    Ok(text)
}

/// What the metrics are read from, taken once for a scrape.
struct Scrape {
    status: Status,
    figures: Figures,
    leadership: Leadership,
}

struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Scrape) -> u64,
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Scrape) -> u64) -> Metric {
    Metric { name, kind: "gauge", help, value }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Scrape) -> u64) -> Metric {
    Metric { name, kind: "counter", help, value }
}

const METRICS: &[Metric] = &[
    gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", |scrape| {
        u64::from(scrape.leadership.leader.is_some())
    }),
    gauge(
        "etcd_server_is_leader",
        "Whether or not this member is a leader. 1 if is, 0 otherwise.",
        |scrape| u64::from(scrape.leadership.is_leader),
    ),
    gauge(
        "etcd_server_is_learner",
        "Whether or not this member is a learner. 1 if is, 0 otherwise.",
        |scrape| u64::from(scrape.leadership.is_learner),
    ),
    counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen.", |scrape| {
        scrape.figures.leader_changes
    }),
    gauge(
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        |scrape| scrape.status.raft_index,
    ),
    gauge(
        "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.",
        |scrape| scrape.status.applied_index,
    ),
    gauge("etcd_server_proposals_pending", "The current number of pending proposals to commit.", |scrape| {
        scrape.figures.proposals_pending
    }),
    counter("etcd_server_proposals_failed_total", "The total number of failed proposals seen.", |scrape| {
        scrape.figures.proposals_failed
    }),
    counter(
        "etcd_server_read_indexes_failed_total",
        "The total number of failed read indexes seen.",
        |scrape| scrape.figures.reads_failed,
    ),
    counter("etcd_server_lease_expired_total", "The total number of expired leases.", |scrape| {
        scrape.figures.leases_expired
    }),
    counter("etcd_debugging_server_lease_expired_total", "The total number of expired leases.", |scrape| {
        scrape.figures.leases_expired
    }),
    counter("etcd_debugging_lease_granted_total", "The total number of granted leases.", |scrape| {
        scrape.figures.leases_granted
    }),
    counter("etcd_debugging_lease_revoked_total", "The total number of revoked leases.", |scrape| {
        scrape.figures.leases_revoked
    }),
    counter(
        "etcd_debugging_lease_renewed_total",
        "The number of renewed leases seen by the leader.",
        |scrape| scrape.figures.leases_renewed,
    ),
    counter("etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL.", |scrape| {
        scrape.figures.log_bytes
    }),
    counter("etcd_mvcc_range_total", "Total number of ranges seen by this member.", |scrape| {
        scrape.figures.ranges
    }),
    counter("etcd_mvcc_put_total", "Total number of puts seen by this member.", |scrape| scrape.figures.puts),
    counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member.", |scrape| {
        scrape.figures.deletes
    }),
    counter("etcd_mvcc_txn_total", "Total number of txns seen by this member.", |scrape| scrape.figures.txns),
    gauge(
        "etcd_debugging_mvcc_total_put_size_in_bytes",
        "The total size of put kv pairs seen by this member.",
        |scrape| scrape.figures.put_bytes,
    ),
    gauge(
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the underlying database physically allocated in bytes.",
        |scrape| scrape.status.db_size_bytes,
    ),
    gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
        |scrape| scrape.status.db_size_in_use_bytes,
    ),
    gauge("etcd_debugging_mvcc_current_revision", "The current revision of store.", |scrape| {
        scrape.status.revision.0 as u64
    }),
    gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction in store.",
        |scrape| scrape.status.compacted.0 as u64,
    ),
    gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", |scrape| {
        scrape.status.watchers as u64
    }),
];

fn durations(text: &mut String, figures: &Figures) {
    histogram(
        text,
        "etcd_disk_wal_fsync_duration_seconds",
        "The latency distributions of fsync called by WAL.",
        &[("", &figures.log_syncs)],
    );
    histogram(
        text,
        "etcd_disk_backend_commit_duration_seconds",
        "The latency distributions of commit called by backend.",
        &[("", &figures.table_writes)],
    );
}

/// A counter of each other member, with the label that etcd gives it.
struct PeerMetric {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    value: fn(&PeerFigures) -> u64,
}

const fn peer_counter(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    value: fn(&PeerFigures) -> u64,
) -> PeerMetric {
    PeerMetric { name, help, label, value }
}

const PEER_METRICS: &[PeerMetric] = &[
    peer_counter(
        "etcd_network_peer_sent_bytes_total",
        "The total number of bytes sent to peers.",
        "To",
        |peer| peer.sent_bytes,
    ),
    peer_counter(
        "etcd_network_peer_received_bytes_total",
        "The total number of bytes received from peers.",
        "From",
        |peer| peer.received_bytes,
    ),
    peer_counter(
        "etcd_network_peer_sent_failures_total",
        "The total number of send failures from peers.",
        "To",
        |peer| peer.send_failures,
    ),
    peer_counter(
        "etcd_network_peer_received_failures_total",
        "The total number of receive failures from peers.",
        "From",
        |peer| peer.receive_failures,
    ),
];

fn peers(text: &mut String, scrape: &Scrape) {
    let peers = &scrape.figures.peers;
    for metric in PEER_METRICS {
        let PeerMetric { name, help, label, value } = metric;
        let rows = peers.iter().map(|peer| (format!("{label}=\"{}\"", hex(peer.id)), value(peer)));
        labelled(text, name, "counter", help, rows);
    }
    let to: Vec<String> = peers.iter().map(|peer| format!("To=\"{}\"", hex(peer.id))).collect();
    let round_trips: Vec<_> =
        to.iter().zip(peers).map(|(label, peer)| (label.as_str(), &peer.round_trips)).collect();
    histogram(
        text,
        "etcd_network_peer_round_trip_time_seconds",
        "Round-Trip-Time histogram between peers",
        &round_trips,
    );
    let local = hex(scrape.status.member_id);
    let pair = |peer: &PeerFigures| format!("Local=\"{local}\",Remote=\"{}\"", hex(peer.id));
    labelled(
        text,
        "etcd_network_active_peers",
        "gauge",
        "The current number of active peer connections.",
        peers.iter().map(|peer| (pair(peer), u64::from(peer.connected))),
    );
    labelled(
        text,
        "etcd_network_disconnected_peers_total",
        "counter",
        "The total number of disconnected peers.",
        peers.iter().map(|peer| (pair(peer), peer.disconnected)),
    );
    labelled(
        text,
        "etcd_network_known_peers",
        "gauge",
        "The current number of known peers.",
        peers.iter().map(|peer| (pair(peer), 1)),
    );
}

/// Without a quota the alerts that compare with it must stay quiet: no size comes near infinity.
fn quota(text: &mut String, status: &Status) {
    let value = status.quota_bytes.map_or_else(|| "+Inf".to_owned(), |bytes| bytes.to_string());
    bare(text, "etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.", &value);
}

/// An identifier as etcd writes it.
fn hex(id: u64) -> String {
    format!("{id:x}")
}
