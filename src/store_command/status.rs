//! `mainstay store status`: a cluster in words.

use anyhow::Context;
use mainstay_proto_wire::etcd::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::maintenance_client::MaintenanceClient;
use tonic::transport::Channel;

use super::client::connect;
use super::flags::StatusFlags;
use crate::up::print_line;

/// What one member said of itself.
struct Report {
    member: pb::Member,
    status: Result<pb::StatusResponse, String>,
}

/// Asks every member that the first answering endpoint knows.
///
/// # Errors
/// No endpoint answers, or a member does not.
pub(crate) fn run(flags: &StatusFlags) -> anyhow::Result<()> {
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting tokio")?;
    tokio.block_on(async {
        let members = members(flags).await?;
        let mut reports = Vec::new();
        for member in members {
            let status = status(&member, flags).await.map_err(|error| format!("{error:#}"));
            reports.push(Report { member, status });
        }
        for line in render(&reports) {
            print_line(&line)?;
        }
        anyhow::ensure!(reports.iter().all(|report| report.status.is_ok()), "not every member answered");
        Ok(())
    })
}

/// The members as the first endpoint that answers knows them.
async fn members(flags: &StatusFlags) -> anyhow::Result<Vec<pb::Member>> {
    let mut failures = Vec::new();
    for url in &flags.endpoints {
        match list(url, flags).await {
            Ok(mut members) => {
                // Alone, a member may advertise an address that only it can reach: what answered is as good.
                if let [member] = &mut members[..] {
                    member.client_ur_ls = vec![url.clone()];
                }
                return Ok(members);
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    anyhow::bail!("no endpoint answers: {}", failures.join("; "))
}

async fn list(url: &str, flags: &StatusFlags) -> anyhow::Result<Vec<pb::Member>> {
    let mut cluster = ClusterClient::new(connect(url, flags).await?);
    let list = cluster.member_list(pb::MemberListRequest { linearizable: false }).await;
    Ok(list.with_context(|| format!("asking {url} for the members"))?.into_inner().members)
}

async fn status(member: &pb::Member, flags: &StatusFlags) -> anyhow::Result<pb::StatusResponse> {
    let url = member.client_ur_ls.first().context("it has not started yet: no client URL is known")?;
    let mut maintenance: MaintenanceClient<Channel> = MaintenanceClient::new(connect(url, flags).await?);
    Ok(maintenance.status(pb::StatusRequest {}).await.with_context(|| format!("asking {url}"))?.into_inner())
}

/// One line for each member, then what is wrong.
fn render(reports: &[Report]) -> Vec<String> {
    let known: Vec<&pb::StatusResponse> =
        reports.iter().filter_map(|report| report.status.as_ref().ok()).collect();
    let newest = known.iter().map(|status| status.raft_index).max().unwrap_or(0);
    let mut lines: Vec<String> = reports.iter().map(|report| line(report, newest)).collect();
    if known.iter().all(|status| status.leader == 0) {
        lines.push("no leader is known: writes wait".into());
    }
    for (report, status) in reports.iter().filter_map(|report| Some((report, report.status.as_ref().ok()?))) {
        lines.extend(
            status.errors.iter().map(|error| format!("{}: alarm: {}", report.member.name, error.trim())),
        );
    }
    lines
}

fn line(report: &Report, newest: u64) -> String {
    let Report { member, status } = report;
    let name = if member.name.is_empty() { "(unnamed)" } else { &member.name };
    let head = format!("{name} {:016x}", member.id);
    let status = match status {
        Ok(status) => status,
        Err(error) => return format!("{head}: does not answer: {error}"),
    };
    let role = if status.leader == member.id {
        "leader"
    } else if status.is_learner {
        "learner"
    } else {
        "follower"
    };
    let behind = newest.saturating_sub(status.raft_applied_index);
    let lag = if behind == 0 { "up to date".to_owned() } else { format!("{behind} entries behind") };
    let quota = match status.db_size_quota {
        0 => String::new(),
        quota => format!(" of {}", mebibytes(quota)),
    };
    let revision = status.header.as_ref().map_or(0, |header| header.revision);
    format!(
        "{head}: {role}, {lag}, revision {revision}, term {}, {}{quota} on disk ({} in use), etcd API {}",
        status.raft_term,
        mebibytes(status.db_size),
        mebibytes(status.db_size_in_use),
        status.version,
    )
}

fn mebibytes(bytes: i64) -> String {
    let tenths = bytes.max(0) * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str) -> pb::Member {
        pb::Member { id, name: name.into(), ..Default::default() }
    }

    fn answer(leader: u64, applied: u64, errors: &[&str]) -> pb::StatusResponse {
        pb::StatusResponse {
            header: Some(pb::ResponseHeader { revision: 9, ..Default::default() }),
            version: "3.6.7".into(),
            leader,
            raft_index: applied,
            raft_applied_index: applied,
            raft_term: 4,
            db_size: 5 << 20,
            db_size_in_use: 1 << 20,
            errors: errors.iter().map(ToString::to_string).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_cluster_reads_as_sentences() {
        let reports = [
            Report { member: member(1, "a"), status: Ok(answer(1, 50, &[])) },
            Report { member: member(2, "b"), status: Ok(answer(1, 47, &["memberID:2 alarm:NOSPACE "])) },
            Report { member: member(3, ""), status: Err("connection refused".into()) },
        ];
        let common = "revision 9, term 4, 5.0 MiB on disk (1.0 MiB in use), etcd API 3.6.7";
        assert_eq!(
            render(&reports),
            [
                format!("a 0000000000000001: leader, up to date, {common}"),
                format!("b 0000000000000002: follower, 3 entries behind, {common}"),
                "(unnamed) 0000000000000003: does not answer: connection refused".to_owned(),
                "b: alarm: memberID:2 alarm:NOSPACE".to_owned(),
            ]
        );
    }

    #[test]
    fn no_leader_is_said() {
        let reports = [Report { member: member(1, "a"), status: Ok(answer(0, 5, &[])) }];
        assert_eq!(render(&reports).last().unwrap(), "no leader is known: writes wait");
    }
}
