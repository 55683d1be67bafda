//! `mainstay status`: asks, prints what is there, then what is wrong.

use std::path::Path;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use mainstay_base::lifecycle::{Clock as _, SystemClock};

use super::ask::Access;
use super::desk;
use super::words::{self, Said};
use crate::agent_files::AgentFile;
use crate::cli::DataDirFlags;
use crate::clients::settings_of_kubeconfig;
use crate::data_dir::DataDir;
use crate::join::{MemberList, SERVERS};
use crate::membership::MemberFile;
use crate::up::{install_crypto, print_line};

/// Prints the state of a cluster.
///
/// # Errors
/// It does not run, does not answer, or something is wrong with it; what was printed says what, and what to do.
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
    if AgentFile::exists(&flags.data_dir) {
        return finish(&worker(&flags.data_dir, &cluster.node_name)?);
    }
    install_crypto()?;
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    let wrong = tokio.block_on(server(&flags.data_dir, &cluster.node_name))?;
    finish(&wrong)
}

/// A worker has no right to look at the cluster: only what it knows is shown.
fn worker(data_dir: &Path, name: &str) -> anyhow::Result<Vec<String>> {
    let mut said = Said::default();
    let now = SystemClock.wall().unix_timestamp();
    match desk::certificates(data_dir) {
        Ok(held) => words::certificates(name, &held, now, &mut said),
        Err(why) => said.wrong(format!("the certificates of {name} cannot be read: {why}")),
    }
    let servers: Vec<String> =
        AgentFile::read_at(data_dir)?.servers.iter().map(ToString::to_string).collect();
    print_all(&said)?;
    print_line(&format!("worker of the servers {}", servers.join(", ")))?;
    Ok(said.wrong)
}

/// What is wrong with the cluster of a server, after what is there was printed.
async fn server(data_dir: &Path, name: &str) -> anyhow::Result<Vec<String>> {
    let mut settings = settings_of_kubeconfig(&data_dir.join("admin.kubeconfig")).await?;
    settings.default_retry = false; // what is asked is how it is now
    let client = kube::Client::try_from(settings.clone()).context("making the API client")?;
    let mut wrong = Vec::new();
    match api_health(&client).await {
        Ok(()) => print_line("API server: ok")?,
        Err(why) => wrong.push(format!("the API server does not say that it is ready: {why}")),
    }
    let access = Access { settings: &settings, own: &client, own_name: name };
    let asked = if MemberFile::exists(data_dir) {
        let request = http::Request::get(SERVERS).body(Vec::new()).context("building the request")?;
        let said = client.request_text(request).await.context("asking for the servers of the cluster")?;
        let said: MemberList = serde_json::from_str(&said).context("reading the servers of the cluster")?;
        let live = live_servers(&client).await;
        access.everyone(said, live.as_deref().ok()).await
    } else {
        vec![access.alone().await]
    };
    let said = words::servers(&asked, SystemClock.wall().unix_timestamp());
    print_all(&said)?;
    wrong.extend(said.wrong);
    let (nodes, pods) = tokio::join!(nodes(&client), pods(&client));
    for looked in [nodes, pods] {
        match looked {
            Ok(said) => {
                print_all(&said)?;
                wrong.extend(said.wrong);
            }
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    Ok(wrong)
}

fn print_all(said: &Said) -> anyhow::Result<()> {
    said.lines.iter().try_for_each(|line| print_line(line))
}

fn finish(wrong: &[String]) -> anyhow::Result<()> {
    for what in wrong {
        print_line(&format!("wrong: {}", what.replace('\n', " ")))?;
    }
    match wrong.len() {
        0 => print_line("nothing is wrong"),
        1 => bail!("one thing is wrong"),
        many => bail!("{many} things are wrong"),
    }
}

/// Whether the API server is ready; if not, the checks that failed, or why it does not answer.
async fn api_health(client: &kube::Client) -> Result<(), String> {
    let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
    match client.request_text(request).await {
        Ok(_ok) => Ok(()),
        Err(kube::Error::Api(status)) => Err(failed_checks(&status.message)),
        Err(error) => Err(format!("{:#}", anyhow::Error::new(error))),
    }
}

/// The failed ones of the checks that /readyz lists, in one line.
fn failed_checks(text: &str) -> String {
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("[-]")?.split_whitespace().next()).collect();
    if names.is_empty() { text.to_owned() } else { format!("failed: {}", names.join(", ")) }
}

/// The addresses that the `kubernetes` Service leads to.
async fn live_servers(client: &kube::Client) -> anyhow::Result<Vec<String>> {
    let slices = kube::Api::<EndpointSlice>::default_namespaced(client.clone());
    let listed = slices.get_opt("kubernetes").await.context("asking which servers live")?;
    let endpoints = listed.into_iter().flat_map(|slice| slice.endpoints.into_iter().flatten());
    Ok(endpoints.flat_map(|endpoint| endpoint.addresses).collect())
}

async fn nodes(client: &kube::Client) -> anyhow::Result<Said> {
    let nodes =
        kube::Api::<Node>::all(client.clone()).list(&ListParams::default()).await.context("listing nodes")?;
    let mut said = Said::default();
    for node in nodes {
        let name = node.metadata.name.unwrap_or_default();
        let conditions = node.status.unwrap_or_default().conditions.unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
        let why = match ready {
            Some(condition) if condition.status == "True" => {
                said.lines.push(format!("node {name}: ready"));
                continue;
            }
            Some(condition) => condition.message.unwrap_or_default(),
            None => "it has not reported yet".to_owned(),
        };
        said.lines.push(format!("node {name}: not ready: {why}"));
        said.wrong(format!("node {name} is not ready ({why}): see `mainstay status` and the log on it"));
    }
    Ok(said)
}

async fn pods(client: &kube::Client) -> anyhow::Result<Said> {
    let pods =
        kube::Api::<Pod>::all(client.clone()).list(&ListParams::default()).await.context("listing pods")?;
    let phase = |wanted: &str| {
        let in_phase =
            |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(wanted);
        pods.iter().filter(in_phase).count()
    };
    let (running, pending, failed) = (phase("Running"), phase("Pending"), phase("Failed"));
    let all = pods.iter().count();
    let line = format!("pods: {running} running, {pending} pending, {failed} failed, {all} in all");
    Ok(Said { lines: vec![line], wrong: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_readyz_says_the_failed_checks_are_told() {
        let said = "[+]ping ok\n[-]informer-sync failed: reason withheld\n[-]etcd failed: reason withheld\nreadyz check failed";
        assert_eq!(failed_checks(said), "failed: informer-sync, etcd");
        assert_eq!(failed_checks("shutting down"), "shutting down");
    }
}
