//! What the face tells and allows, beside what the store itself was told.
use std::time::Duration;

use mainstay_base::telemetry::trace::Tracer;

use super::token_option::AuthTokens;

/// How to face etcd's clients.
#[derive(Clone, Debug)]
pub struct FaceConfig {
    /// This member's name.
    pub name: String,
    /// The URLs at which clients reach this member: for the list of members.
    pub client_urls: Vec<String>,
    /// The URLs at which the other members reach this one.
    pub peer_urls: Vec<String>,
    /// The requests that one connection may have under way.
    pub concurrent_streams_max: u32,
    /// How long a member waits for its leader; leases live at least one and a half times as long.
    pub election_timeout: Duration,
    /// How often a watch that asked for progress hears of it while nothing happens.
    pub watch_progress_interval: Duration,
    /// While most watch streams that read have more than about so many bytes of events to be sent in all, the answers of writes wait, each for at
    /// most 250 ms; none never has one wait. See decision 0110.
    pub watch_backlog_bytes: Option<u64>,
    /// The longest time for one request.
    pub request_timeout: Duration,
    /// How long requests under way may take to end when the server stops.
    pub stop_grace: Duration,
    /// Whether it is also measured how long each gRPC call takes.
    pub metrics_extensive: bool,
    /// Which tokens stand for users, once authentication is enabled.
    pub auth_tokens: AuthTokens,
    /// Where calls are traced to; none of them is where it is none.
    pub tracer: Option<Tracer>,
}

impl Default for FaceConfig {
    fn default() -> Self {
        Self {
            name: "default".into(),
            client_urls: vec!["http://localhost:2379".into()],
            peer_urls: vec!["http://localhost:2380".into()],
            concurrent_streams_max: u32::MAX,
            election_timeout: Duration::from_secs(1),
            watch_progress_interval: Duration::from_secs(600),
            watch_backlog_bytes: Some(64 << 20),
            request_timeout: Duration::from_secs(7),
            stop_grace: Duration::from_secs(5),
            metrics_extensive: false,
            auth_tokens: AuthTokens::default(),
            tracer: None,
        }
    }
}
