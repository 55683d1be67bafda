//! The flags of `mainstay store`: etcd's names, and its environment variables.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use super::go_values;
use super::migrate::MigrateFlags;
use super::not_built::NotBuilt;

/// `mainstay store`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct StoreFlags {
    #[command(subcommand)]
    pub(crate) command: Option<StoreCommand>,
    #[command(flatten)]
    pub(crate) serve: ServeFlags,
}

/// Questions to running stores.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Say in words who the members are, who leads, how far behind the others are, sizes and alarms.
    Status(StatusFlags),
    /// Make a data directory of an etcd: of its snapshot, or of a running one.
    Migrate(MigrateFlags),
}

/// `mainstay store status`.
#[derive(Debug, Args)]
pub(crate) struct StatusFlags {
    /// Client URLs of the members, comma-separated. One is enough: the others are found through it.
    #[arg(long, value_name = "URLS", value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    pub(crate) endpoints: Vec<String>,
    /// File with the authorities that the servers' certificates are checked against.
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// File with the client certificate to show.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// File with its key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

/// How history is compacted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompactionMode {
    /// Keep a time.
    Periodic,
    /// Keep a number of revisions.
    Revision,
}

/// What metrics tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MetricsDetail {
    /// Counts.
    Basic,
    /// Also how long each gRPC call takes.
    Extensive,
}

/// What a member with an empty directory does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterState {
    /// It forms a cluster.
    New,
    /// It joins one.
    Existing,
}

/// What the server takes.
#[derive(Debug, Args)]
pub(crate) struct ServeFlags {
    /// A name for this member, for people.
    #[arg(long, env = "ETCD_NAME", value_name = "NAME", default_value = "default")]
    pub(crate) name: String,
    /// Directory for the data; it is made at the first start [default: NAME.etcd].
    #[arg(long, env = "ETCD_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// URLs to listen on for clients, comma-separated: http, https, unix or unixs.
    #[arg(
        long,
        env = "ETCD_LISTEN_CLIENT_URLS",
        value_name = "URLS",
        value_delimiter = ',', action = ArgAction::Set,
        default_value = "http://localhost:2379"
    )]
    pub(crate) listen_client_urls: Vec<String>,
    /// URLs at which clients reach this member, comma-separated.
    #[arg(
        long,
        env = "ETCD_ADVERTISE_CLIENT_URLS",
        value_name = "URLS",
        value_delimiter = ',', action = ArgAction::Set,
        default_value = "http://localhost:2379"
    )]
    pub(crate) advertise_client_urls: Vec<String>,
    /// URLs to listen on for metrics and health only, comma-separated.
    #[arg(long, env = "ETCD_LISTEN_METRICS_URLS", value_name = "URLS", value_delimiter = ',', action = ArgAction::Set)]
    pub(crate) listen_metrics_urls: Vec<String>,
    /// What metrics tell: basic, or extensive: also how long each gRPC call takes.
    #[arg(long, env = "ETCD_METRICS", value_name = "WHAT", value_enum, default_value = "basic")]
    pub(crate) metrics: MetricsDetail,
    /// URLs to listen on for the other members, comma-separated. Without it and --initial-cluster the store stays alone.
    #[arg(long, env = "ETCD_LISTEN_PEER_URLS", value_name = "URLS", value_delimiter = ',', action = ArgAction::Set)]
    pub(crate) listen_peer_urls: Vec<String>,
    /// URLs at which the other members reach this one, comma-separated [default: http://localhost:2380].
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS", value_name = "URLS", value_delimiter = ',', action = ArgAction::Set)]
    pub(crate) initial_advertise_peer_urls: Vec<String>,
    /// Every member to begin with, this one too: NAME=URL, comma-separated.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER", value_name = "MEMBERS", value_delimiter = ',', action = ArgAction::Set)]
    pub(crate) initial_cluster: Vec<String>,
    /// Whether to form a cluster (new) or to join one that has added this member (existing).
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", value_name = "STATE", value_enum, default_value = "new")]
    pub(crate) initial_cluster_state: ClusterState,
    /// Keeps clusters apart that have the same addresses.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", value_name = "TOKEN", default_value = "etcd-cluster")]
    pub(crate) initial_cluster_token: String,
    /// File with the certificate for other members, as PEM; it must serve both ends of a connection.
    #[arg(long, env = "ETCD_PEER_CERT_FILE", value_name = "FILE")]
    pub(crate) peer_cert_file: Option<PathBuf>,
    /// File with its key, as PEM.
    #[arg(long, env = "ETCD_PEER_KEY_FILE", value_name = "FILE")]
    pub(crate) peer_key_file: Option<PathBuf>,
    /// File with the authority of all members' certificates, as PEM.
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE", value_name = "FILE")]
    pub(crate) peer_trusted_ca_file: Option<PathBuf>,
    /// Taken as etcd's flag; members on https always check each other's certificates.
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_AUTH", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL", value_parser = go_values::switch)]
    pub(crate) peer_client_cert_auth: Option<bool>,
    /// Refuse changes of the members that could cost the cluster its majority.
    #[arg(long, env = "ETCD_STRICT_RECONFIG_CHECK", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true", value_name = "BOOL", value_parser = go_values::switch)]
    pub(crate) strict_reconfig_check: bool,
    /// So many learners may there be at a time.
    #[arg(long, env = "ETCD_MAX_LEARNERS", alias = "experimental-max-learners", value_name = "COUNT", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_learners: u16,
    /// So many log entries are kept for members that lag; one that lags more is sent a snapshot.
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT", value_name = "ENTRIES", default_value_t = 10_000)]
    pub(crate) snapshot_count: u64,
    /// File with the certificate for clients, as PEM; it is read again when it changes.
    #[arg(long, env = "ETCD_CERT_FILE", value_name = "FILE", requires = "key_file")]
    pub(crate) cert_file: Option<PathBuf>,
    /// File with its key, as PEM.
    #[arg(long, env = "ETCD_KEY_FILE", value_name = "FILE", requires = "cert_file")]
    pub(crate) key_file: Option<PathBuf>,
    /// File with the authorities whose certificates clients have to show, as PEM; without it clients are asked for none.
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE", value_name = "FILE")]
    pub(crate) trusted_ca_file: Option<PathBuf>,
    /// Take the common name of a client's certificate for its user; needs --trusted-ca-file.
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true", value_name = "BOOL", value_parser = go_values::switch)]
    pub(crate) client_cert_auth: bool,
    /// Which tokens stand for users: simple, or jwt,sign-method=METHOD,priv-key=FILE,pub-key=FILE,ttl=5m.
    #[arg(long, env = "ETCD_AUTH_TOKEN", value_name = "TYPE", default_value = "simple")]
    pub(crate) auth_token: String,
    /// Seconds that a simple token lives without being used.
    #[arg(long, env = "ETCD_AUTH_TOKEN_TTL", value_name = "SECONDS", default_value_t = 300)]
    pub(crate) auth_token_ttl: u64,
    /// The cost of hashing passwords, from 4 to 31.
    #[arg(long, env = "ETCD_BCRYPT_COST", value_name = "COST", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(4..=31))]
    pub(crate) bcrypt_cost: u32,
    /// What auto compaction keeps: a time (periodic) or a number of revisions (revision).
    #[arg(
        long,
        env = "ETCD_AUTO_COMPACTION_MODE",
        value_name = "MODE",
        value_enum,
        default_value = "periodic"
    )]
    pub(crate) auto_compaction_mode: CompactionMode,
    /// How much auto compaction keeps: hours or a duration such as 30m (periodic), revisions (revision); 0 is everything.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", value_name = "RETENTION", default_value = "0")]
    pub(crate) auto_compaction_retention: String,
    /// Milliseconds between a leader's signs of life.
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL", value_name = "MS", default_value_t = 100)]
    pub(crate) heartbeat_interval: u64,
    /// Milliseconds without such a sign after which members elect another.
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT", value_name = "MS", default_value_t = 1000)]
    pub(crate) election_timeout: u64,
    /// The bound on the data's size in bytes, after which writes are refused until an alarm is disarmed; 0 and less are none.
    #[arg(
        long,
        env = "ETCD_QUOTA_BACKEND_BYTES",
        value_name = "BYTES",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub(crate) quota_backend_bytes: i64,
    /// The size of the largest request, in bytes.
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", value_name = "BYTES", default_value_t = 1_572_864)]
    pub(crate) max_request_bytes: usize,
    /// The most operations in one transaction.
    #[arg(long, env = "ETCD_MAX_TXN_OPS", value_name = "COUNT", default_value_t = 128)]
    pub(crate) max_txn_ops: usize,
    /// The most requests that one connection may have under way.
    #[arg(long, env = "ETCD_MAX_CONCURRENT_STREAMS", value_name = "COUNT", default_value_t = u32::MAX)]
    pub(crate) max_concurrent_streams: u32,
    /// How often a watch that asked for progress hears of it while nothing happens.
    #[arg(long, env = "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL", alias = "experimental-watch-progress-notify-interval",
        value_name = "DURATION", default_value = "10m", value_parser = go_values::duration)]
    pub(crate) watch_progress_notify_interval: Duration,
    /// Trace calls, for OpenTelemetry's tools.
    #[arg(long, env = "ETCD_ENABLE_DISTRIBUTED_TRACING", alias = "experimental-enable-distributed-tracing",
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", value_name = "BOOL", value_parser = go_values::switch)]
    pub(crate) enable_distributed_tracing: bool,
    /// The collector that traces are sent to (OTLP over gRPC, without TLS).
    #[arg(
        long,
        env = "ETCD_DISTRIBUTED_TRACING_ADDRESS",
        alias = "experimental-distributed-tracing-address",
        value_name = "HOST:PORT",
        default_value = "localhost:4317"
    )]
    pub(crate) distributed_tracing_address: String,
    /// The service that traces name; the same for all members.
    #[arg(
        long,
        env = "ETCD_DISTRIBUTED_TRACING_SERVICE_NAME",
        value_name = "NAME",
        default_value = "etcd",
        alias = "experimental-distributed-tracing-service-name"
    )]
    pub(crate) distributed_tracing_service_name: String,
    /// What traces name this member; another for each.
    #[arg(
        long,
        env = "ETCD_DISTRIBUTED_TRACING_INSTANCE_ID",
        value_name = "ID",
        alias = "experimental-distributed-tracing-instance-id"
    )]
    pub(crate) distributed_tracing_instance_id: Option<String>,
    /// Of a million traces that begin here, so many are recorded; a trace that a client began is if it says so.
    #[arg(long, env = "ETCD_DISTRIBUTED_TRACING_SAMPLING_RATE", value_name = "COUNT", default_value_t = 0,
        alias = "experimental-distributed-tracing-sampling-rate", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) distributed_tracing_sampling_rate: u32,
    /// What to log: debug, info, warn, error, or directives such as info,mainstay_store=debug.
    #[arg(long, env = "ETCD_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
    /// How to log: text or json.
    #[arg(long, env = "ETCD_LOG_FORMAT", value_name = "FORMAT", default_value = "text", value_parser = ["text", "console", "json"])]
    pub(crate) log_format: String,
    #[command(flatten)]
    pub(crate) not_built: NotBuilt,
}

impl ServeFlags {
    /// Where the other members reach this one.
    pub(crate) fn peer_urls(&self) -> Vec<String> {
        if self.initial_advertise_peer_urls.is_empty() {
            vec!["http://localhost:2380".to_owned()]
        } else {
            self.initial_advertise_peer_urls.clone()
        }
    }

    /// Where the data is.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| format!("{}.etcd", self.name).into())
    }
}
