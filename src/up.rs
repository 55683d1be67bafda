//! `mainstay up`: a whole node in the foreground. `mainstay server` is the same with a place among other servers.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use mainstay_base::lifecycle::{Clock, SystemClock};
use mainstay_base::telemetry::{LogFormat, init_tracing};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::info;

use crate::agent_files::AgentFile;
use crate::assemble::Node;
use crate::cli::UpFlags;
use crate::config::{Cluster, Config, MemberSettings, new_id};
use crate::data_dir::{DataDir, write_atomically};
use crate::identities::{Identities, Renew};
use crate::join::{Superseded, rejoin};
use crate::membership::MemberFile;
use crate::node_address::node_ip;
use crate::refusal::refuse;
use crate::{kubeconfig, notices, preflight};

/// The node must be Ready within this time, or the start counts as failed.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// What a failed start left running must have ended within this time.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A refusal before anything was changed, or a part that could not start.
pub(crate) fn run(flags: &UpFlags) -> anyhow::Result<()> {
    if MemberFile::exists(&flags.data_dir) {
        let dir = flags.data_dir.display();
        return Err(refuse(format!(
            "{dir} is that of a server among others: start it with `mainstay server`"
        )));
    }
    let config = resolve(flags, None)?;
    preflight::check(&config)?;
    start_logs(&flags.log, flags.log_json)?;
    install_crypto()?;
    serve(&config)
}

/// Logs to standard error from here on.
///
/// # Errors
/// A filter that is none.
pub(crate) fn start_logs(filter: &str, as_json: bool) -> anyhow::Result<()> {
    let format = if as_json { LogFormat::Json } else { LogFormat::Text };
    init_tracing(filter, format).map_err(|error| refuse(format!("--log: {error}")))
}

/// Runs a server until SIGTERM or SIGINT. Everything is checked by now.
///
/// # Errors
/// A part that could not start.
pub(crate) fn serve(config: &Config) -> anyhow::Result<()> {
    let clock = SystemClock;
    let began = clock.now();
    let dir = DataDir::take(&config.data_dir, &config.cluster)?;
    let identities = Identities::ensure(dir.path(), config, clock.wall(), Renew::Due)?;
    write_admin_kubeconfig(config, &identities)?;
    let tokio = runtime()?;
    let served = tokio.block_on(run_node(config, &identities, &dir, began));
    let Some(lost) = served.as_ref().err().and_then(|error| error.downcast_ref::<Superseded>()) else {
        return served;
    };
    tokio.shutdown_timeout(END_TIMEOUT); // so that the ports are free
    let is_done = runtime()?.block_on(async {
        tokio::select! {
            biased;
            stopped = wait_for_stop() => stopped.map(|()| false),
            joined = rejoin(lost, config, &identities, &dir) => joined.map(|()| true),
        }
    })?;
    if is_done { start_anew() } else { Ok(()) }
}

/// Goes on as a process that knows nothing of before.
fn start_anew() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    again.arg0(arguments.next().unwrap_or_else(|| "mainstay".into())); // what `ps` shows stays as it was
    let error = again.args(arguments).exec();
    Err(error).context("starting this program anew")
}

async fn run_node(
    config: &Config,
    identities: &Identities,
    dir: &DataDir,
    began: Instant,
) -> anyhow::Result<()> {
    let stop = wait_for_stop();
    tokio::pin!(stop);
    let Some(node) = Node::start(config, identities, dir, stop.as_mut()).await? else { return Ok(()) };
    let ran = run_until(&node, (config, identities), began, stop).await;
    info!("stopping; containers run on");
    notices::stopping();
    let ended = node.stop().await;
    // A store that stopped by itself does not close well: why it stopped is what counts.
    ran.and(ended)
}

/// Waits until the node is ready, says so, and waits until it is to stop.
///
/// # Errors
/// It did not become ready, or the store stopped by itself.
async fn run_until(
    node: &Node,
    (config, identities): (&Config, &Identities),
    began: Instant,
    mut stop: Pin<&mut impl Future<Output = anyhow::Result<()>>>,
) -> anyhow::Result<()> {
    let ready = tokio::select! {
        biased;
        stopped = stop.as_mut() => return stopped,
        why = node.halted() => return Err(why),
        ready = tokio::time::timeout(START_TIMEOUT, node.ready()) => ready,
    };
    ready.map_err(|_elapsed| {
        anyhow::anyhow!("the node was not Ready within {} s: see the log", START_TIMEOUT.as_secs())
    })?;
    node.mark_as_server(config).await;
    print_line(&format!("ready in {} ms", (SystemClock.now() - began).as_millis()))?;
    if config.member.is_some() {
        node.print_join_commands(config, identities).await?;
    }
    node.tell_ready();
    info!(kubeconfig = %config.kubeconfig.display(), "export KUBECONFIG to use kubectl");
    let dashboard = format!("https://{}/ui/", SocketAddr::new(config.node_ip, config.bind.port()));
    info!(url = dashboard, "the dashboard takes a token of `kubectl create token`");
    tokio::select! {
        biased;
        stopped = stop => stopped,
        why = node.halted() => Err(why),
    }
}

/// The runtime of a daemon.
///
/// # Errors
/// No threads.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mainstay")
        .build()
        .context("starting tokio")
}

/// One line on standard output.
pub(crate) fn print_line(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("writing to standard output")
}

/// rustls wants one provider for the process where a library does not name one.
pub(crate) fn install_crypto() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_already| anyhow::anyhow!("a TLS provider was installed before"))
}

/// What the flags and the data directory say together. `member` is a server's place, with the machine's address.
///
/// # Errors
/// A refusal: nothing was changed.
pub(crate) fn resolve(flags: &UpFlags, member: Option<(MemberSettings, IpAddr)>) -> anyhow::Result<Config> {
    if AgentFile::exists(&flags.data_dir) {
        let dir = flags.data_dir.display();
        return Err(refuse(format!("{dir} is that of a worker: start it with `mainstay agent`")));
    }
    let cluster = match DataDir::cluster(&flags.data_dir)? {
        Some(cluster) => {
            cluster.agrees(flags)?;
            cluster
        }
        None => Cluster::first(flags, new_id(), &host_name())?,
    };
    check_unused(&flags.data_dir)?;
    let data_dir = std::path::absolute(&flags.data_dir).context("finding the data directory")?;
    let kubeconfig = flags.kubeconfig.clone().unwrap_or_else(|| data_dir.join("admin.kubeconfig"));
    if !kubeconfig
        .parent()
        .is_none_or(|parent| parent == data_dir || parent.as_os_str().is_empty() || parent.is_dir())
    {
        return Err(refuse(format!("--kubeconfig {}: its folder does not exist", kubeconfig.display())));
    }
    let (member, given) = member.unzip();
    let node_ip = given.unwrap_or_else(|| node_ip(flags.bind, cluster.gateway()));
    let api_server = flags.api_server.settings()?;
    let (bind, certificate_lifetime) = (flags.bind, flags.certificate_lifetime);
    Ok(Config { cluster, data_dir, kubeconfig, bind, node_ip, api_server, member, certificate_lifetime })
}

/// Refuses a data directory that a process uses.
pub(crate) fn check_unused(data_dir: &Path) -> anyhow::Result<()> {
    match DataDir::user(data_dir)? {
        None => Ok(()),
        Some(pid) => Err(refuse(format!(
            "{} is in use by mainstay process {pid}: stop it, or choose another --data-dir",
            data_dir.display()
        ))),
    }
}

/// The machine's name.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Writes the administrator's kubeconfig where it is missing or old.
pub(crate) fn write_admin_kubeconfig(config: &Config, identities: &Identities) -> anyhow::Result<()> {
    let text = kubeconfig::render(&config.api_url(), &identities.ca_pem, "admin", &identities.admin);
    // The data directory always holds one, where `mainstay status` looks; --kubeconfig names one more.
    for file in [&config.data_dir.join("admin.kubeconfig"), &config.kubeconfig] {
        let held = std::fs::read_to_string(file).unwrap_or_default();
        if held != text {
            write_atomically(file, text.as_bytes(), 0o600)?;
        }
    }
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn wait_for_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
