//! What the server needs to know before it starts. Values only: files, flags and environment are read by the root.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mainstay_base::lifecycle::Clock;
use mainstay_base::telemetry::trace::Tracer;
use tokio::sync::watch;

use crate::admission::pod_security::Exemptions;
use crate::audit::AuditConfig;
use crate::authn::front_proxy::FrontProxyConfig;
use crate::authn::jwt::AuthenticationConfig;
use crate::authn::static_tokens::StaticTokens;
use crate::authz::webhook::AuthorizationConfig;
use crate::encryption::EncryptionConfig;
use crate::outbound::Remote;
use crate::types::{Endpoint, EndpointKey};

/// A certificate chain and its key, PEM, as read from disk.
#[derive(Clone, PartialEq, Eq)]
pub struct PemPair {
    /// Leaf first, then intermediates.
    pub cert_pem: Vec<u8>,
    /// PKCS#8, SEC1 or PKCS#1.
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for PemPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemPair").finish_non_exhaustive()
    }
}

/// ServiceAccount token signing and checking.
#[derive(Clone)]
pub struct ServiceAccountKeys {
    /// The private key new tokens are signed with, PEM (RSA or P-256).
    pub signing_key_pem: Vec<u8>,
    /// Public keys (or certificates) tokens are checked with, PEM; the signing key's own is always accepted.
    pub verification_keys_pem: Vec<Vec<u8>>,
    /// The `iss` of new tokens, such as `https://kubernetes.default.svc.cluster.local`.
    pub issuer: String,
    /// Audiences of tokens that name none, and which the server itself accepts.
    pub audiences: Vec<String>,
    /// The longest token lifetime given out.
    pub expiration_max: Duration,
}

impl std::fmt::Debug for ServiceAccountKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountKeys").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// How the server reaches node agents.
#[derive(Debug, Clone)]
pub struct KubeletClient {
    /// The client certificate shown to node agents; a new one from the next connection on.
    pub identity: watch::Receiver<PemPair>,
    /// The CAs that sign node agents' serving certificates, PEM; others from the next connection on.
    pub ca_pem: watch::Receiver<String>,
}

/// How the server speaks to extension servers: in the name of its users, whom they believe by this certificate.
#[derive(Debug, Clone)]
pub struct FrontProxy {
    /// The client certificate shown to extension servers; a new one from the next connection on.
    pub identity: watch::Receiver<PemPair>,
    /// The CAs that sign it, PEM; extension servers find them in the cluster, and others when they change.
    pub ca_pem: watch::Receiver<String>,
}

/// Bounds of the server; the defaults are upstream's.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest request body, in bytes (3 MiB).
    pub body_bytes_max: usize,
    /// Longest stored object, in bytes (1.5 MiB).
    pub object_bytes_max: usize,
    /// Longest request head, in bytes (1 MiB).
    pub header_bytes_max: usize,
    /// Streams open at once on one HTTP/2 connection.
    pub h2_streams_max: u32,
    /// Connections open at once.
    pub connections_max: usize,
    /// Requests handled at once that do not change anything.
    pub inflight_reads_max: usize,
    /// Requests handled at once that change something.
    pub inflight_writes_max: usize,
    /// Watches and other long-running requests open at once.
    pub long_running_max: usize,
    /// Time for one request that is not long-running.
    pub request_timeout: Duration,
    /// Time for a TLS handshake and for a request head.
    pub handshake_timeout: Duration,
    /// Time a write to a client may make no progress.
    pub write_stall_timeout: Duration,
    /// Shortest lifetime of a watch without `timeoutSeconds`; the actual one is up to twice as long.
    pub watch_timeout_min: Duration,
    /// Time between two bookmarks of a watch.
    pub bookmark_interval: Duration,
    /// Events kept per resource for watches to resume from.
    pub ring_events_max: usize,
    /// Bytes of objects those events may hold per resource.
    pub ring_bytes_max: usize,
    /// How long old revisions are kept before compaction.
    pub history: Duration,
    /// Lifetime of Event objects.
    pub event_ttl: Duration,
    /// Time open requests get at shutdown.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 3 * 1024 * 1024,
            object_bytes_max: 1536 * 1024,
            header_bytes_max: 1024 * 1024,
            h2_streams_max: 1000,
            connections_max: 20_000,
            inflight_reads_max: 400,
            inflight_writes_max: 200,
            long_running_max: 12_000,
            request_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            write_stall_timeout: Duration::from_secs(25),
            watch_timeout_min: Duration::from_secs(1800),
            bookmark_interval: Duration::from_secs(60),
            ring_events_max: 4096,
            ring_bytes_max: 16 * 1024 * 1024,
            history: Duration::from_secs(300),
            event_ttl: Duration::from_secs(3600),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Where uids and random name suffixes come from; injected so that tests can repeat a run.
pub trait Randomness: Send + Sync {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, out: &mut [u8]) {
        rand::RngCore::fill_bytes(&mut rand::rng(), out);
    }
}

/// How callers are known besides their certificates and service account tokens.
#[derive(Debug, Clone, Default)]
pub struct AuthenticationSettings {
    /// Whether Secrets of type `bootstrap.kubernetes.io/token` in kube-system are tokens.
    pub bootstrap_tokens: bool,
    /// Tokens of a file.
    pub static_tokens: StaticTokens,
    /// Whose headers are believed.
    pub front_proxy: Option<FrontProxyConfig>,
    /// Other issuers, and requests without credentials.
    pub configuration: AuthenticationConfig,
    /// A webhook that knows tokens, and how long its answers are remembered.
    pub webhook: Option<(Remote, Duration)>,
}

/// Settings of admission steps.
#[derive(Debug, Clone, Default)]
pub struct AdmissionConfig {
    /// Who and what `PodSecurity` holds to no standard.
    pub pod_security: Exemptions,
}

/// Configuration of one API server.
#[derive(Clone)]
pub struct ServerConfig {
    /// Where to listen; port 0 picks one.
    pub bind: SocketAddr,
    /// The address other nodes and pods reach this server at.
    pub advertise: IpAddr,
    /// Serving certificate; a new value is used for new connections.
    pub serving: watch::Receiver<PemPair>,
    /// CAs of client certificates, PEM; others from the next request on.
    pub client_ca_pem: watch::Receiver<String>,
    /// ServiceAccount tokens.
    pub service_account: ServiceAccountKeys,
    /// Access to node agents.
    pub kubelet: KubeletClient,
    /// Access to extension servers; none of them is available without.
    pub front_proxy: Option<FrontProxy>,
    /// Addresses of Services.
    pub service_cidr: IpNet,
    /// Addresses of pods, where the server must know them.
    pub cluster_cidr: Option<IpNet>,
    /// Ports of `NodePort` Services.
    pub node_ports: RangeInclusive<u16>,
    /// Whether requests without credentials run as `system:anonymous`.
    pub anonymous: bool,
    /// How callers are known besides certificates and service account tokens.
    pub authentication: AuthenticationSettings,
    /// Who is asked what callers may do.
    pub authorization: AuthorizationConfig,
    /// Settings of admission steps.
    pub admission: AdmissionConfig,
    /// How the store's values are sealed; not at all where it is none.
    pub encryption: Option<EncryptionConfig>,
    /// What is audited; nothing where it is none.
    pub audit: Option<AuditConfig>,
    /// Endpoints of the embedder's own, at paths outside the resources: `("", PATH, "")`. They answer every method.
    pub endpoints: Vec<(EndpointKey, Arc<dyn Endpoint>)>,
    /// Whether reads are answered from the cache, with a warning, when too few of the store's members answer.
    pub stale_reads: bool,
    /// Bounds.
    pub limits: Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub randomness: Arc<dyn Randomness>,
    /// Where requests are traced to; none of them is where it is none.
    pub tracer: Option<Tracer>,
    /// Where metrics are registered.
    pub metrics: prometheus::Registry,
}
