//! What the embedder decides.
use std::path::PathBuf;
use std::time::Duration;

use super::ClusterConfig;
use crate::platform::Platform;

/// etcd's default for [`Config::quota_backend_bytes`], which here is none.
pub const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;

/// How to open a store. Only `dir` has no default.
///
/// ```
/// let config = mainstay_store::Config { dir: "/var/lib/app/store".into(), ..Default::default() };
/// assert_eq!(config.limits.txn_ops_max, 128);
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory; it is created if it is missing, and locked while the store is open.
    pub dir: PathBuf,
    /// The cluster that the data must belong to; none takes what is there, and makes up a new one for a new directory.
    pub cluster_id: Option<u64>,
    /// This member's place among others; none for a store that stays alone, which then needs no network.
    pub cluster: Option<ClusterConfig>,
    /// The bounds of requests.
    pub limits: Limits,
    /// Memory for blocks read from disk, in bytes.
    pub block_cache_bytes: usize,
    /// Memory for the newest versions of keys in use, in bytes: writes and reads of them need not look in the tables. A quarter of it is for versions
    /// without their values, which is all that most writes need.
    pub head_cache_bytes: usize,
    /// Memory for writes not yet in tables, in bytes. The Raft log keeps at least this much until it is flushed.
    pub write_buffer_bytes: usize,
    /// The size of one preallocated file of the Raft log, in bytes. At least two exist.
    pub log_segment_bytes: u64,
    /// How many recent revisions watchers share in memory; slower watchers read from disk.
    pub watch_ring_revisions: usize,
    /// The memory that these may hold, in bytes of keys and values.
    pub watch_ring_bytes: usize,
    /// How long a watch that asked for progress stays without an event until it gets an empty batch.
    pub watch_progress_interval: Duration,
    /// The space on the disk that is kept free, in bytes: writes are refused below it, reads go on.
    pub disk_reserve_bytes: u64,
    /// How the identity of callers is established, once authentication is enabled.
    pub auth: super::AuthOptions,
    /// The size that the tables may have, in bytes; none means no bound. A write that would pass it is refused and raises the NOSPACE alarm of
    /// this member, which refuses what adds data until it is disarmed ([`Store::alarm_disarm`](crate::Store::alarm_disarm)).
    pub quota_backend_bytes: Option<u64>,
    /// Whether an acknowledged write is on disk. Without it a crash of the *machine* may lose acknowledged writes: for tests and caches.
    pub sync: bool,
    /// Whether a caller that is the only one has its write synced on the runtime's thread that it came on, while the store has one member. It saves
    /// such a caller two changes of thread, a third of the time that its write takes, and holds up whatever else runs on that thread for as long as
    /// a sync takes: for processes that do nothing but serve the store.
    pub sync_where_proposed: bool,
    /// What the store runs on; leave it at its default.
    #[doc(hidden)]
    pub platform: Platform,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            cluster_id: None,
            cluster: None,
            limits: Limits::default(),
            block_cache_bytes: 32 << 20,
            head_cache_bytes: 64 << 20,
            write_buffer_bytes: 16 << 20,
            log_segment_bytes: 16 << 20,
            watch_ring_revisions: 8192,
            watch_ring_bytes: 16 << 20,
            watch_progress_interval: Duration::from_secs(60),
            disk_reserve_bytes: 64 << 20,
            auth: super::AuthOptions::default(),
            quota_backend_bytes: None,
            sync: true,
            sync_where_proposed: false,
            platform: Platform::default(),
        }
    }
}

/// The bounds of requests; etcd's defaults.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The operations (and likewise the comparisons) in one list of a transaction.
    pub txn_ops_max: usize,
    /// The size of one request: its keys and values.
    pub request_bytes_max: usize,
    /// How deep transactions nest.
    pub txn_depth_max: usize,
    /// The time to live of a lease.
    pub lease_ttl_max: Duration,
    /// The leases alive at one time.
    pub leases_max: usize,
    /// The watches open at one time.
    pub watches_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            txn_ops_max: 128,
            request_bytes_max: 1_572_864,
            txn_depth_max: 8,
            lease_ttl_max: Duration::from_secs(9_000_000_000),
            leases_max: 1_000_000,
            watches_max: 1_000_000,
        }
    }
}
