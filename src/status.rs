//! `mainstay status`: what runs and how healthy it is, in words.

use std::path::Path;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_base::pki::{Facts, facts};

use crate::agent_files::AgentFile;
use crate::cli::DataDirFlags;
use crate::clients::of_kubeconfig;
use crate::data_dir::DataDir;
use crate::join::{MemberList, MemberState, SERVERS};
use crate::membership::MemberFile;
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
    print_certificates(&flags.data_dir.join("pki"))?;
    if AgentFile::exists(&flags.data_dir) {
        // A worker has no right to look at the cluster: only what it knows is shown.
        let servers: Vec<String> =
            AgentFile::read_at(&flags.data_dir)?.servers.iter().map(ToString::to_string).collect();
        return print_line(&format!("worker of the servers {}", servers.join(", ")));
    }
    let kubeconfig = flags.data_dir.join("admin.kubeconfig");
    install_crypto()?;
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    tokio.block_on(async {
        let client = of_kubeconfig(&kubeconfig).await?;
        print_line(&format!("API server: {}", api_health(&client).await?))?;
        if MemberFile::exists(&flags.data_dir) {
            print_servers(&client).await?;
        }
        print_nodes(&client).await?;
        print_pods(&client).await
    })
}

async fn api_health(client: &kube::Client) -> anyhow::Result<String> {
    let request = http::Request::get("/readyz").body(Vec::new()).context("building the health request")?;
    client.request_text(request).await.context("the API server does not say that it is ready")
}

/// The certificate that ends first, and whether that is soon.
fn print_certificates(folder: &Path) -> anyhow::Result<()> {
    let now = SystemClock.wall();
    let mut first: Option<(Facts, String)> = None;
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let file = entry.with_context(|| format!("reading {}", folder.display()))?.path();
        if file.extension().is_none_or(|end| end != "crt") {
            continue;
        }
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let facts = facts(&text).with_context(|| format!("reading {}", file.display()))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if first.as_ref().is_none_or(|(earliest, _)| facts.not_after < earliest.not_after) {
            first = Some((facts, name));
        }
    }
    let Some((facts, name)) = first else { return Ok(()) };
    let days = (facts.not_after - now).whole_days();
    let advice = if facts.is_due(now) { ": it should have been renewed, see the log" } else { "" };
    print_line(&format!("certificates: the first to end is {name}, in {days} days{advice}"))
}

/// The servers of the cluster, as this one knows them.
async fn print_servers(client: &kube::Client) -> anyhow::Result<()> {
    let request = http::Request::get(SERVERS).body(Vec::new()).context("building the request")?;
    let said = client.request_text(request).await.context("asking for the servers of the cluster")?;
    let said: MemberList = serde_json::from_str(&said).context("reading the servers of the cluster")?;
    print_line(&format!(
        "store: this server has applied entry {} of {} in its log",
        said.applied_index, said.raft_index
    ))?;
    if !said.members.iter().any(|member| member.is_leader) {
        print_line(
            "store: no server leads: writes wait until a majority of the servers answers (if those are lost for good: `mainstay server recover --help`)",
        )?;
    }
    let slices = kube::Api::<EndpointSlice>::default_namespaced(client.clone());
    let listed = slices.get_opt("kubernetes").await.context("asking which servers live")?;
    let live: Vec<String> = listed
        .into_iter()
        .flat_map(|slice| slice.endpoints.into_iter().flatten())
        .flat_map(|e| e.addresses)
        .collect();
    let lost = said.members.iter().try_fold(0, |lost, member| {
        let (words, is_lost) = words_for(member, &live);
        print_line(&format!("server {words}"))?;
        anyhow::Ok(lost + usize::from(is_lost))
    })?;
    if lost > 0 {
        print_line("what to do: bring lost servers back, or remove them with `mainstay server remove NAME`")?;
    }
    Ok(())
}

/// A server in words, and whether it is lost. `live` are the addresses of API servers that live.
fn words_for(member: &MemberState, live: &[String]) -> (String, bool) {
    let peers = member.peer_urls.join(", ");
    if member.name.is_empty() {
        return (format!("(not started yet) at {peers}"), false);
    }
    let is_live = live.iter().any(|ip| member.client_urls.iter().any(|url| host(url) == Some(ip)));
    let role = match (member.is_leader, member.is_learner) {
        (true, _) => ", leads the store",
        (_, true) => ", is catching up",
        _ => "",
    };
    let health = if is_live { "serves" } else { "LOST: its API server does not say that it lives" };
    (format!("{} at {peers}: {health}{role}", member.name), !is_live)
}

fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1;
    authority.rsplit_once(':').map(|(host, _port)| host.trim_start_matches('[').trim_end_matches(']'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_said_to_serve_lead_or_be_lost() {
        let member = |name: &str, is_leader: bool| MemberState {
            id: "1".to_owned(),
            name: name.to_owned(),
            peer_urls: vec!["https://192.0.2.1:2380".to_owned()],
            client_urls: vec!["https://192.0.2.1:6443".to_owned()],
            is_learner: false,
            is_leader,
        };
        let live = ["192.0.2.1".to_owned()];
        let (words, lost) = words_for(&member("a", true), &live);
        assert_eq!((words.as_str(), lost), ("a at https://192.0.2.1:2380: serves, leads the store", false));
        assert!(words_for(&member("a", false), &[]).1);
        assert!(!words_for(&member("", false), &[]).1, "it has not started");
        assert_eq!(host("https://[2001:db8::1]:6443"), Some("2001:db8::1"));
    }
}
