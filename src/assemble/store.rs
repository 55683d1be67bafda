//! This server's store, and where it runs.

use anyhow::Context as _;
use mainstay_base::telemetry::trace::Tracer;
use mainstay_store::{ClusterConfig, Store};

use crate::config::Config;
use crate::data_dir::DataDir;
use crate::{membership, traces};

/// Opens the store of this server: that of one among several on a thread of its own, so that requests to the API never hold up heartbeats, and
/// consensus wakes one thread (docs/decisions/0140). The thread ends with the process.
pub(super) async fn open_store(
    config: &Config,
    dir: &DataDir,
    tracer: Option<&Tracer>,
) -> anyhow::Result<Store> {
    let cluster = match &config.member {
        Some(member) => {
            let forwarded_writes = tracer.map(traces::forwarded);
            Some(ClusterConfig { forwarded_writes, ..membership::place(config, member, dir).await? })
        }
        None => None,
    };
    let settings =
        mainstay_store::Config { dir: dir.join("store"), cluster, ..mainstay_store::Config::default() };
    if settings.cluster.is_none() {
        return Store::open(settings).await.context("opening the store");
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    let opening = runtime.handle().spawn(Store::open(settings));
    std::thread::Builder::new()
        .name("store".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .context("starting the store's thread")?;
    opening.await?.context("opening the store")
}
