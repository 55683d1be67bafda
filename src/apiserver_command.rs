//! `mainstay apiserver`: the API server alone, on a store that another program serves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use mainstay_apiserver_server::{EtcdClient, EtcdConfig, EtcdConfigError, EtcdTls};
use mainstay_base::lifecycle::{Clock, SystemClock, Tasks};
use mainstay_base::telemetry::{LogFormat, init_tracing};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::api_server::ApiServerFlags;
use crate::assemble::{end, server_config, tracer};
use crate::cli::UpFlags;
use crate::config::CERTIFICATE_LIFETIME;
use crate::data_dir::DataDir;
use crate::identities::{Identities, Renew};
use crate::refusal::refuse;
use crate::renewal::{Shown, run_renewal};
use crate::{notices, preflight, up};

/// The store may be started a little later than this.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// `mainstay apiserver`.
#[derive(Debug, Args)]
pub(crate) struct ApiServerCommandFlags {
    /// Servers of the store, comma-separated: `mainstay store` or etcd 3.5 and later, such as https://10.0.0.1:2379. The
    /// next one is asked when one does not answer.
    #[arg(long, value_name = "URLS", value_delimiter = ',', required = true, help_heading = "Store")]
    pub(crate) etcd_servers: Vec<String>,
    /// File with the authorities that sign the store's certificates [default: those that this machine believes]; it, the
    /// certificate and the key are read again when they change.
    #[arg(long, value_name = "FILE", help_heading = "Store")]
    pub(crate) etcd_cafile: Option<PathBuf>,
    /// File with the certificate that the store knows this server by.
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile", help_heading = "Store")]
    pub(crate) etcd_certfile: Option<PathBuf>,
    /// File with its key.
    #[arg(long, value_name = "FILE", requires = "etcd_certfile", help_heading = "Store")]
    pub(crate) etcd_keyfile: Option<PathBuf>,
    /// What the keys of this cluster begin with: clusters with different ones can share a store.
    #[arg(long, value_name = "PREFIX", default_value = "/registry", help_heading = "Store")]
    pub(crate) etcd_prefix: String,
    /// Directory for keys and certificates, made at the first start. Servers of one cluster need the same `pki` and
    /// `encryption.yaml` in it: copy them.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mainstay-apiserver")]
    pub(crate) data_dir: PathBuf,
    /// Where to write the administrator's kubeconfig [default: DIR/admin.kubeconfig].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Address and port to serve (TLS only).
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:6443")]
    pub(crate) bind: SocketAddr,
    /// Addresses of pods [default at the first start: 10.42.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pub(crate) cluster_cidr: Option<String>,
    /// Addresses of Services [default at the first start: 10.43.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pub(crate) service_cidr: Option<String>,
    #[command(flatten)]
    pub(crate) api_server: ApiServerFlags,
    /// What to log: error, warn, info, debug, trace, or directives such as info,mainstay_apiserver_server=debug.
    #[arg(long, value_name = "FILTER", default_value = crate::cli::LOG_FILTER)]
    pub(crate) log: String,
    /// Write logs as JSON, one object a line.
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A refusal before anything was changed, or a server that could not start.
pub(crate) fn run(flags: ApiServerCommandFlags) -> anyhow::Result<()> {
    let clock = SystemClock;
    let began = clock.now();
    let store = store_config(&flags);
    let flags = flags.into_up();
    let config = up::resolve(&flags, None)?;
    preflight::port_is_free("--bind", config.bind)?;
    let format = if flags.log_json { LogFormat::Json } else { LogFormat::Text };
    init_tracing(&flags.log, format).map_err(|error| refuse(format!("--log: {error}")))?;
    up::install_crypto()?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mainstay")
        .build()
        .context("starting tokio")?;
    tokio.block_on(async {
        let client =
            EtcdClient::new(&store).map_err(|error| refused_store(&error))?;
        wait_for_store(&client).await?;
        let dir = DataDir::take(&config.data_dir, &config.cluster)?;
        let identities = Identities::ensure(dir.path(), &config, clock.wall(), Renew::Due)?;
        up::write_admin_kubeconfig(&config, &identities)?;
        let tasks = Tasks::new("apiserver", CancellationToken::new());
        let shown = Shown::new(&config, &identities).await?;
        let mut server_config = server_config(&config, &identities, &dir, &shown)?;
        let trace_tasks = Tasks::new("traces", CancellationToken::new());
        server_config.tracer = tracer(&config, &trace_tasks)?;
        let no_news = watch::Sender::new(()).subscribe();
        run_renewal(shown, config.clone(), no_news, Arc::new(SystemClock), &tasks)?;
        let server = mainstay_apiserver_server::start(server_config, client, tasks.clone())
            .await
            .context("starting the API server")?;
        up::print_line(&format!("ready in {} ms", (clock.now() - began).as_millis()))?;
        info!(address = %server.local_addr(), kubeconfig = %config.kubeconfig.display(), "export KUBECONFIG to use kubectl");
        notices::ready(&tasks, || async { true });
        up::wait_for_stop().await?;
        notices::stopping();
        info!("stopping; the store stays as it is");
        server.announce_shutdown();
        tokio::time::sleep(config.api_server.shutdown_delay).await;
        end(&[&tasks, &trace_tasks]).await;
        Ok(())
    })
}

impl ApiServerCommandFlags {
    /// The flags that `mainstay up` has too: what they mean is written once.
    fn into_up(self) -> UpFlags {
        UpFlags {
            data_dir: self.data_dir,
            kubeconfig: self.kubeconfig,
            bind: self.bind,
            node_name: None,
            cluster_cidr: self.cluster_cidr,
            service_cidr: self.service_cidr,
            api_server: self.api_server,
            certificate_lifetime: CERTIFICATE_LIFETIME,
            log: self.log,
            log_json: self.log_json,
        }
    }
}

fn store_config(flags: &ApiServerCommandFlags) -> EtcdConfig {
    EtcdConfig {
        servers: flags.etcd_servers.clone(),
        prefix: flags.etcd_prefix.clone(),
        tls: EtcdTls {
            ca_file: flags.etcd_cafile.clone(),
            cert_file: flags.etcd_certfile.clone(),
            key_file: flags.etcd_keyfile.clone(),
        },
    }
}

/// A store that cannot be used, by the flag that says so.
fn refused_store(error: &EtcdConfigError) -> anyhow::Error {
    let flag = match error {
        EtcdConfigError::Authority { .. } => "--etcd-cafile",
        EtcdConfigError::Identity { .. } => "--etcd-certfile, --etcd-keyfile",
        _ => "--etcd-servers",
    };
    refuse(format!("{flag}: {error}"))
}

/// Waits until the store answers.
///
/// # Errors
/// It does not, and why.
async fn wait_for_store(client: &EtcdClient) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + STORE_PATIENCE;
    loop {
        match client.revision().await {
            Ok(revision) => {
                info!(%revision, "the store answers");
                return Ok(());
            }
            Err(error) if error.is_passing() && tokio::time::Instant::now() < deadline => {
                info!(%error, "waiting for the store");
                tokio::time::sleep(STORE_PAUSE).await;
            }
            Err(error) => {
                return Err(refuse(format!(
                    "--etcd-servers: {error}: start it with `mainstay store`, or give its URLs"
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Arguments, Command};
    use clap::Parser;

    fn flags(extra: &[&str]) -> Result<ApiServerCommandFlags, clap::Error> {
        match Arguments::try_parse_from(["mainstay", "apiserver"].iter().chain(extra))?.command {
            Command::Apiserver(flags) => Ok(*flags),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_of_the_store_are_kube_apiservers() {
        let flags = flags(&["--etcd-servers=http://a:1,http://b:2"]).unwrap();
        let store = store_config(&flags);
        assert_eq!((store.servers.len(), store.prefix.as_str()), (2, "/registry"));
    }

    #[test]
    fn wrong_flags_are_refused_and_say_which() {
        assert!(flags(&[]).unwrap_err().to_string().contains("--etcd-servers"));
        let half = flags(&["--etcd-servers=https://a:1", "--etcd-certfile=x"]).unwrap_err().to_string();
        assert!(half.contains("--etcd-keyfile"), "{half}");
        let lost = flags(&["--etcd-servers=https://a:1", "--etcd-cafile=/nowhere"]).unwrap();
        let error = refused_store(&EtcdClient::new(&store_config(&lost)).unwrap_err()).to_string();
        assert!(error.contains("--etcd-cafile: /nowhere: cannot be read"), "{error}");
    }
}
