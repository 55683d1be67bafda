//! Asks every server of a cluster how it is: the leader first, so that what is behind its answer is behind indeed.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::join_all;
use mainstay_base::lifecycle::{Clock as _, SystemClock};

use super::desk::STATUS;
use super::report::ServerReport;
use crate::clients::API_HOST;
use crate::join::{MemberList, MemberState};

/// A server that says nothing within this time does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// One server of the cluster, and what it said.
#[derive(Debug)]
pub(super) struct Asked {
    /// Its name; empty if it has not started yet.
    pub(super) name: String,
    /// Where the others reach it.
    pub(super) peer_urls: String,
    /// Whether it has no vote.
    pub(super) is_learner: bool,
    /// Whether the `kubernetes` Service leads to it; none if nobody could say.
    pub(super) is_listed: Option<bool>,
    /// What it told, and by how many milliseconds its clock is ahead of this machine's; or why it told nothing.
    pub(super) told: Result<(ServerReport, i64), String>,
}

/// How to reach servers.
pub(super) struct Access<'a> {
    /// The administrator's settings.
    pub(super) settings: &'a kube::Config,
    /// A client of this machine's server.
    pub(super) own: &'a kube::Client,
    /// That server's name.
    pub(super) own_name: &'a str,
}

impl Access<'_> {
    /// This machine's server, which is alone.
    pub(super) async fn alone(&self) -> Asked {
        let told = ask(self.own).await.map_err(|error| format!("{error:#}"));
        let name = self.own_name.to_owned();
        Asked { name, peer_urls: String::new(), is_learner: false, is_listed: None, told }
    }

    /// All of them. `live` are the addresses that the `kubernetes` Service leads to, if that could be read.
    pub(super) async fn everyone(&self, said: MemberList, live: Option<&[String]>) -> Vec<Asked> {
        let (leaders, others): (Vec<MemberState>, Vec<MemberState>) =
            said.members.into_iter().partition(|member| member.is_leader);
        let mut asked = Vec::new();
        for members in [leaders, others] {
            asked.extend(join_all(members.into_iter().map(|member| self.one(member, live))).await);
        }
        asked.sort_by(|one, other| one.name.cmp(&other.name));
        asked
    }

    async fn one(&self, member: MemberState, live: Option<&[String]>) -> Asked {
        let told = self.answer_of(&member).await.map_err(|error| format!("{error:#}"));
        let is_live = |live: &[String]| {
            live.iter().any(|ip| member.client_urls.iter().any(|url| host(url) == Some(ip)))
        };
        Asked {
            is_listed: live.map(is_live),
            name: member.name,
            peer_urls: member.peer_urls.join(", "),
            is_learner: member.is_learner,
            told,
        }
    }

    async fn answer_of(&self, member: &MemberState) -> anyhow::Result<(ServerReport, i64)> {
        if member.name == self.own_name {
            return ask(self.own).await;
        }
        let url = member.client_urls.first().context("it has not started yet")?;
        let mut settings = self.settings.clone();
        settings.cluster_url = url.parse().with_context(|| format!("using {url}"))?;
        settings.tls_server_name = API_HOST.strip_prefix("https://").map(str::to_owned);
        ask(&kube::Client::try_from(settings).with_context(|| format!("using {url}"))?).await
    }
}

async fn ask(client: &kube::Client) -> anyhow::Result<(ServerReport, i64)> {
    let request = http::Request::get(STATUS).body(Vec::new()).context("asking it")?;
    let began = now_millis();
    let answer = tokio::time::timeout(ANSWER_MAX, client.request_text(request)).await;
    let answer = answer.map_err(|_elapsed| anyhow::anyhow!("no answer within {} s", ANSWER_MAX.as_secs()))?;
    let answer = answer.map_err(short)?;
    let middle = began.midpoint(now_millis());
    let report: ServerReport = serde_json::from_str(&answer).context("reading its answer")?;
    let ahead = report.unix_millis - middle;
    Ok((report, ahead))
}

/// The last cause says it; those before it are the client's own layers.
fn short(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        error => {
            let error = anyhow::Error::new(error);
            anyhow::anyhow!("{}", error.root_cause())
        }
    }
}

fn now_millis() -> i64 {
    i64::try_from(SystemClock.wall().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1;
    authority.rsplit_once(':').map(|(host, _port)| host.trim_start_matches('[').trim_end_matches(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_found() {
        assert_eq!(host("https://[2001:db8::1]:6443"), Some("2001:db8::1"));
        assert_eq!(host("https://192.0.2.1:6443"), Some("192.0.2.1"));
        assert_eq!(host("192.0.2.1"), None);
    }
}
