//! `mainstay store`: the server, in the foreground.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context;
use clap::CommandFactory as _;
use mainstay_base::lifecycle::Tasks;
use mainstay_base::telemetry::{LogFormat, init_tracing};
use mainstay_store::etcd::{
    AuthTokens, AutoCompaction, BindError, Endpoint, FaceConfig, Listener, Server, TlsFiles, auto_compact,
};
use mainstay_store::{AuthOptions, ClusterConfig, Config, Limits, OpenError, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::flags::{CompactionMode, MetricsDetail, ServeFlags};
use super::go_values;
use super::peers::Peers;
use crate::assemble::end;
use crate::cli::Arguments;
use crate::refusal::refuse;
use crate::traces::{self, TracesConfig};

/// A server of its own may use more for keys in use than a library inside another program.
const HEAD_CACHE_BYTES: usize = 160 << 20;

/// Where etcd's data directory has its database.
const ETCD_DATABASE: &str = "member/snap/db";

/// Runs until SIGTERM or SIGINT, or until the store stops by itself.
///
/// # Errors
/// A refusal before anything was changed; a store that stopped.
pub(crate) fn run(flags: &ServeFlags) -> anyhow::Result<()> {
    let wanted = Wanted::of(flags)?;
    let format = if flags.log_format == "json" { LogFormat::Json } else { LogFormat::Text };
    init_tracing(&flags.log_level, format).map_err(|error| refuse(format!("--log-level: {error}")))?;
    for name in unknown_variables(std::env::vars_os().map(|(name, _)| name)) {
        warn!("nothing takes the variable {name}");
    }
    // One thread: gRPC, consensus and their wakes stay on one core, which costs a third less than two. What waits for the
    // disk has its own threads.
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    tokio.block_on(wanted.serve())
}

/// Variables that look like etcd's and are not.
fn unknown_variables(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let whole = Arguments::command();
    let known = |name: &str| {
        let store = whole.find_subcommand("store");
        store.is_some_and(|store| {
            store.get_arguments().any(|flag| flag.get_env().is_some_and(|own| own == name))
        })
    };
    let names = names.filter_map(|name| name.into_string().ok());
    names.filter(|name| name.starts_with("ETCD_") && !known(name)).collect()
}

/// The flags, understood.
struct Wanted {
    store: Config,
    face: FaceConfig,
    endpoints: Vec<Endpoint>,
    /// For metrics and health only.
    metrics_endpoints: Vec<Endpoint>,
    tls: Option<TlsFiles>,
    compaction: Option<AutoCompaction>,
    peers: Option<Peers>,
    traces: Option<TracesConfig>,
}

impl Wanted {
    fn of(flags: &ServeFlags) -> anyhow::Result<Self> {
        flags.not_built.refuse()?;
        let endpoints = parse_urls("--listen-client-urls", &flags.listen_client_urls)?;
        let metrics_endpoints = parse_urls("--listen-metrics-urls", &flags.listen_metrics_urls)?;
        let tls = match (&flags.cert_file, &flags.key_file) {
            (Some(cert), Some(key)) => Some(TlsFiles {
                cert: cert.clone(),
                key: key.clone(),
                trusted_ca: flags.trusted_ca_file.clone(),
                client_cert_auth: flags.client_cert_auth,
            }),
            _ => None,
        };
        let mut all = endpoints.iter().chain(&metrics_endpoints);
        if let Some(url) = all.find(|endpoint| endpoint.is_tls() && tls.is_none()) {
            return Err(refuse(format!("{url} needs --cert-file and --key-file")));
        }
        if flags.election_timeout < 5 * flags.heartbeat_interval {
            return Err(refuse(format!(
                "--election-timeout {} must be at least five times --heartbeat-interval {}",
                flags.election_timeout, flags.heartbeat_interval
            )));
        }
        let limits = Limits {
            txn_ops_max: flags.max_txn_ops,
            request_bytes_max: flags.max_request_bytes,
            ..Limits::default()
        };
        let auth = AuthOptions {
            bcrypt_cost: flags.bcrypt_cost,
            token_ttl: Duration::from_secs(flags.auth_token_ttl.max(1)),
        };
        let auth_tokens = AuthTokens::parse(&flags.auth_token).map_err(|error| refuse(error.to_string()))?;
        let default = Config::default();
        // Two of the largest requests fit into a file of the log, whatever their size.
        let log_segment_bytes = default.log_segment_bytes.max(4 * flags.max_request_bytes as u64);
        Ok(Self {
            store: Config {
                dir: flags.data_dir(),
                limits,
                head_cache_bytes: HEAD_CACHE_BYTES,
                log_segment_bytes,
                sync_where_proposed: true,
                auth,
                quota_backend_bytes: u64::try_from(flags.quota_backend_bytes).ok().filter(|bytes| *bytes > 0),
                ..default
            },
            face: FaceConfig {
                name: flags.name.clone(),
                client_urls: flags.advertise_client_urls.clone(),
                peer_urls: flags.peer_urls(),
                concurrent_streams_max: flags.max_concurrent_streams,
                election_timeout: Duration::from_millis(flags.election_timeout),
                watch_progress_interval: flags.watch_progress_notify_interval,
                metrics_extensive: flags.metrics == MetricsDetail::Extensive,
                auth_tokens,
                ..FaceConfig::default()
            },
            endpoints,
            metrics_endpoints,
            tls,
            compaction: compaction(flags)?,
            peers: Peers::of(flags)?,
            traces: traces_of(flags)?,
        })
    }

    async fn listen(&self, endpoint: &Endpoint) -> anyhow::Result<Listener> {
        Listener::bind(endpoint, self.tls.as_ref()).await.map_err(refuse_bind)
    }

    async fn serve(mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut listeners = Vec::new();
        for endpoint in &self.endpoints {
            listeners.push(self.listen(endpoint).await?);
        }
        let addresses: Vec<String> =
            listeners.iter().map(|listener| listener.endpoint().to_string()).collect();
        for endpoint in &self.metrics_endpoints {
            let listener = self.listen(endpoint).await?.metrics_only();
            info!(address = %listener.endpoint(), "serving metrics");
            listeners.push(listener);
        }
        let trace_tasks = Tasks::new("traces", CancellationToken::new());
        self.face.tracer =
            self.traces.as_ref().map(|traces| traces::start(traces, &trace_tasks)).transpose()?;
        let mut config = self.store;
        if let Some(peers) = self.peers {
            let forwarded_writes = self.face.tracer.as_ref().map(traces::forwarded);
            config.cluster = Some(ClusterConfig { forwarded_writes, ..peers.bind().await? });
        }
        let store = Store::open(config).await.map_err(refuse_open)?;
        let server = Server::new(store.clone(), self.face)?;
        let stop = CancellationToken::new();
        let announce = async {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                ready = store.ready() => match ready {
                    Ok(()) => addresses.iter().for_each(|address| info!(%address, "ready to serve client requests")),
                    Err(error) => warn!(%error, "not ready to serve client requests"),
                },
            }
        };
        let stop_asked = async {
            tokio::select! {
                _ = terminate.recv() => info!("SIGTERM: stopping"),
                _ = interrupt.recv() => info!("SIGINT: stopping"),
                () = store.stopped() => {}
            }
            // While clients are connected and other members reach it: they go on with the next leader before this one is gone.
            store.hand_over().await;
            stop.cancel();
        };
        let compacting = async {
            if let Some(mode) = self.compaction {
                auto_compact(&store, mode, stop.clone()).await;
            }
        };
        tokio::join!(server.serve(listeners, stop.clone()), stop_asked, compacting, announce);
        let status = store.status().await;
        let closed = store.close().await.context("closing the store");
        end(&[&trace_tasks]).await;
        closed?;
        if let Err(mainstay_store::RangeError::Halted(halt)) = status {
            // Asked for by somebody: whoever starts this again after failures is not to.
            if halt.is_removed() {
                info!("stopped for good");
                return Ok(());
            }
            return Err(halt.into());
        }
        info!("stopped");
        Ok(())
    }
}

/// What is traced, if anything is.
fn traces_of(flags: &ServeFlags) -> anyhow::Result<Option<TracesConfig>> {
    if !flags.enable_distributed_tracing {
        return Ok(None);
    }
    let collector = flags
        .distributed_tracing_address
        .parse()
        .map_err(|why| refuse(format!("--distributed-tracing-address: {why}")))?;
    Ok(Some(TracesConfig {
        collector,
        per_million: flags.distributed_tracing_sampling_rate,
        service: flags.distributed_tracing_service_name.clone(),
        instance: flags.distributed_tracing_instance_id.clone().filter(|id| !id.is_empty()),
    }))
}

fn parse_urls(flag: &str, urls: &[String]) -> anyhow::Result<Vec<Endpoint>> {
    urls.iter().map(|url| url.parse().map_err(|error| refuse(format!("{flag}: {error}")))).collect()
}

/// etcd's rule: a bare number is hours in periodic mode.
fn compaction(flags: &ServeFlags) -> anyhow::Result<Option<AutoCompaction>> {
    let text = &flags.auto_compaction_retention;
    let wrong = |why: String| refuse(format!("--auto-compaction-retention: {why}"));
    let mode = match flags.auto_compaction_mode {
        CompactionMode::Revision => {
            let revisions: i64 = text.parse().map_err(|error| wrong(format!("{text:?}: {error}")))?;
            (revisions > 0).then_some(AutoCompaction::Revisions(revisions))
        }
        CompactionMode::Periodic => {
            let kept = match text.parse::<u32>() {
                Ok(hours) => Duration::from_secs(3600) * hours,
                Err(_not_a_number) => go_values::duration(text).map_err(wrong)?,
            };
            (!kept.is_zero()).then_some(AutoCompaction::Period(kept))
        }
    };
    Ok(mode)
}

fn refuse_bind(error: BindError) -> anyhow::Error {
    refuse(format!("{:#}", anyhow::Error::new(error)))
}

fn refuse_open(error: OpenError) -> anyhow::Error {
    if let OpenError::NotAStore { dir } = &error
        && dir.join(ETCD_DATABASE).exists()
    {
        let (dir, database) = (dir.display(), dir.join(ETCD_DATABASE));
        return refuse(format!(
            "{dir} is etcd's: make a data directory of it with `mainstay store migrate --from-etcd {} --skip-hash-check --data-dir NEW`",
            database.display()
        ));
    }
    refuse(format!("{:#}", anyhow::Error::new(error)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Command;

    fn flags(arguments: &[&str]) -> ServeFlags {
        let words = ["mainstay", "store"].iter().chain(arguments);
        match Arguments::try_parse_from(words).unwrap().command {
            Command::Store(flags) => flags.serve,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_are_etcds() {
        let flags = flags(&[
            "--name=a",
            "--listen-client-urls",
            "http://127.0.0.1:1,https://127.0.0.1:2",
            "--client-cert-auth",
            "--cert-file=c",
            "--key-file=k",
            "--trusted-ca-file=t",
            "--max-txn-ops=9",
        ]);
        let wanted = Wanted::of(&flags).unwrap();
        assert_eq!(wanted.endpoints.len(), 2);
        assert!(wanted.tls.unwrap().client_cert_auth);
        assert_eq!((wanted.store.dir, wanted.store.limits.txn_ops_max), ("a.etcd".into(), 9));
    }

    #[test]
    fn variables_that_nothing_takes_are_named() {
        let names = ["ETCD_NAME", "ETCD_WAL_DIR", "ETCD_NMAE", "HOME", "ETCDCTL_API"].map(OsString::from);
        assert_eq!(unknown_variables(names.into_iter()), ["ETCD_NMAE"]);
    }

    #[test]
    fn switches_and_numbers_are_gos() {
        let wanted = |words: &[&str]| flags(words);
        assert!(wanted(&["--client-cert-auth=1"]).client_cert_auth);
        assert!(!wanted(&["--strict-reconfig-check=f"]).strict_reconfig_check);
        let without = Wanted::of(&wanted(&["--quota-backend-bytes=-1"])).unwrap();
        assert_eq!(without.store.quota_backend_bytes, None);
    }

    #[test]
    fn retention_is_hours_durations_or_revisions() {
        let of = |arguments: &[&str]| compaction(&flags(arguments)).unwrap();
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&["--auto-compaction-retention=2"]),
            Some(AutoCompaction::Period(Duration::from_secs(7200)))
        );
        assert_eq!(
            of(&["--auto-compaction-retention=5m"]),
            Some(AutoCompaction::Period(Duration::from_secs(300)))
        );
        let revisions = of(&["--auto-compaction-mode=revision", "--auto-compaction-retention=1000"]);
        assert_eq!(revisions, Some(AutoCompaction::Revisions(1000)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &["--listen-client-urls=https://127.0.0.1:1"][..],
            &["--listen-client-urls=nonsense"],
            &["--listen-metrics-urls=nonsense"],
            &["--listen-metrics-urls=https://127.0.0.1:1"],
            &["--election-timeout=100"],
            &["--auto-compaction-retention=x"],
            &["--initial-cluster=other=http://127.0.0.1:1"],
            &["--initial-cluster=default=http://127.0.0.1:1"],
            &["--listen-peer-urls=https://127.0.0.1:1"],
            &["--peer-cert-file=c", "--listen-peer-urls=http://127.0.0.1:1"],
        ] {
            assert!(Wanted::of(&flags(arguments)).is_err(), "{arguments:?}");
        }
    }
}
