//! `mainstay status`: what runs and how healthy it is, in words.

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;

use crate::cli::DataDirFlags;
use crate::data_dir::DataDir;
use crate::up::{install_crypto, print_line};

/// Prints the state of a cluster.
///
/// # Errors
/// It does not run, does not answer, or is not healthy; the text says which.
pub(crate) fn run(flags: &DataDirFlags) -> anyhow::Result<()> {
    let cluster = DataDir::existing(&flags.data_dir)?;
    let Some(pid) = DataDir::user(&flags.data_dir)? else {
        bail!(
            "cluster {} in {} does not run: start it with `mainstay up`",
            cluster.id,
            flags.data_dir.display()
        );
    };
    print_line(&format!("cluster {}, node {}, process {pid}", cluster.id, cluster.node_name))?;
    let kubeconfig = flags.data_dir.join("admin.kubeconfig");
    install_crypto()?;
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    tokio.block_on(async {
        let parsed = kube::config::Kubeconfig::read_from(&kubeconfig)
            .with_context(|| format!("reading {}", kubeconfig.display()))?;
        let config =
            kube::Config::from_custom_kubeconfig(parsed, &kube::config::KubeConfigOptions::default())
                .await
                .context("using the kubeconfig")?;
        let url = config.cluster_url.to_string();
        let client = kube::Client::try_from(config).context("making the API client")?;
        print_line(&format!("API server {url}: {}", api_health(&client).await?))?;
        print_nodes(&client).await?;
        print_pods(&client).await
    })
}

async fn api_health(client: &kube::Client) -> anyhow::Result<String> {
    let request = http::Request::get("/readyz").body(Vec::new()).context("building the health request")?;
    client.request_text(request).await.context("the API server does not say that it is ready")
}

async fn print_nodes(client: &kube::Client) -> anyhow::Result<()> {
    let nodes =
        kube::Api::<Node>::all(client.clone()).list(&ListParams::default()).await.context("listing nodes")?;
    let mut unready = 0;
    for node in nodes {
        let status = node.status.unwrap_or_default();
        let ready =
            status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ == "Ready");
        let words = match ready {
            Some(condition) if condition.status == "True" => "ready".to_owned(),
            Some(condition) => format!("not ready: {}", condition.message.unwrap_or_default()),
            None => "not ready: it has not reported yet".to_owned(),
        };
        unready += usize::from(words != "ready");
        print_line(&format!("node {}: {words}", node.metadata.name.unwrap_or_default()))?;
    }
    if unready > 0 {
        bail!("{unready} node(s) not ready");
    }
    Ok(())
}

async fn print_pods(client: &kube::Client) -> anyhow::Result<()> {
    let pods =
        kube::Api::<Pod>::all(client.clone()).list(&ListParams::default()).await.context("listing pods")?;
    let phase = |wanted: &str| {
        let in_phase =
            |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(wanted);
        pods.iter().filter(in_phase).count()
    };
    let (running, pending, failed) = (phase("Running"), phase("Pending"), phase("Failed"));
    print_line(&format!(
        "pods: {running} running, {pending} pending, {failed} failed, {} in all",
        pods.iter().count()
    ))
}
