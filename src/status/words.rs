//! Says how servers are: a line for each thing that is there, and a line for each that is wrong, with what to do. Without IO.

use std::collections::BTreeSet;

use super::ask::Asked;
use super::report::{CertificateReport, MemberReport, ServerReport};
use crate::snapshots::{ScheduleState, shown};

/// A member that is further behind than this catches up too slowly; docs/alerts.yaml has the same.
const LAG_MAX: u64 = 5_000;
/// Clocks that are further apart than this have no good time server.
const SKEW_MILLIS_MAX: i64 = 2_000;
/// A snapshot or a certificate that is later than this is not about to come.
const LATE_SECONDS: i64 = 2 * 3600;
/// A snapshot that is due is taken within this.
const SNAPSHOT_LATE_SECONDS: i64 = 600;
/// An authority is exchanged when somebody asks for it: that takes planning.
const AUTHORITY_SECONDS: i64 = 365 * 86_400;

/// What is said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// What is there.
    pub(super) lines: Vec<String>,
    /// What is wrong, each with what to do.
    pub(super) wrong: Vec<String>,
}

impl Said {
    fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    pub(super) fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }
}

/// How servers are at `now`, Unix seconds.
pub(super) fn servers(asked: &[Asked], now: i64) -> Said {
    let mut said = Said::default();
    let reports = || asked.iter().filter_map(|one| one.told.as_ref().ok().map(|(report, _ahead)| report));
    let leader = reports().find(|report| report.store.leader.as_ref() == Some(&report.store.id));
    let quorum = Quorum::of(asked);
    // One that leads and does not hear of a majority has not noticed yet.
    let leader = leader.filter(|_| quorum.is_there());
    for one in asked {
        let words = one_server(one, leader, quorum.is_there(), &mut said.wrong);
        said.line(format!("server {words}"));
    }
    quorum.tell(leader.is_some(), &mut said);
    for report in reports() {
        let name = &report.name;
        snapshots(name, report.snapshots.as_ref(), now, &mut said);
        match &report.certificates {
            Ok(held) => certificates(name, held, now, &mut said),
            Err(why) => said.wrong(format!("the certificates of {name} cannot be read: {why}")),
        }
    }
    let versions: BTreeSet<&str> = reports().map(|report| report.version.as_str()).collect();
    if versions.len() > 1 {
        let each: Vec<String> =
            reports().map(|report| format!("{} {}", report.name, report.version)).collect();
        said.wrong(format!(
            "the servers run different versions ({}): go on until all have the newer one",
            each.join(", ")
        ));
    }
    said
}

/// A server in words.
fn one_server(
    asked: &Asked,
    leader: Option<&ServerReport>,
    has_quorum: bool,
    wrong: &mut Vec<String>,
) -> String {
    let at = if asked.peer_urls.is_empty() { String::new() } else { format!(" at {}", asked.peer_urls) };
    let name = &asked.name;
    if name.is_empty() {
        return format!("(not started yet){at}");
    }
    let (report, ahead) = match &asked.told {
        Ok(told) => told,
        Err(why) => {
            wrong.push(lost(name, why, asked.is_listed.filter(|_| has_quorum), has_quorum));
            return format!("{name}{at}: LOST: it does not answer: {why}");
        }
    };
    if asked.is_listed == Some(false) {
        wrong.push(format!(
            "server {name} answers, but the cluster does not send clients to it: its API server is not ready, see its log"
        ));
    }
    if ahead.abs() > SKEW_MILLIS_MAX {
        let direction = if *ahead > 0 { "ahead of" } else { "behind" };
        wrong.push(format!(
            "the clock of server {name} is {} s {direction} this machine's: have both follow a time server (NTP)",
            ahead.abs().div_euclid(1000)
        ));
    }
    space(name, &report.store, wrong);
    let role = if asked.is_learner { ", is catching up" } else { "" };
    format!(
        "{name}{at}: serves{role}{}, {}, mainstay {}",
        position(report, leader, wrong),
        size(&report.store),
        report.version
    )
}

fn lost(name: &str, why: &str, is_listed: Option<bool>, has_quorum: bool) -> String {
    let silent = format!("server {name} does not answer");
    match (is_listed, has_quorum) {
        (Some(true), _) => format!(
            "{silent} this machine ({why}), and the cluster still lists it: if that stays so, look at the network in between"
        ),
        (_, true) => format!(
            "{silent} ({why}): bring it back, or remove it with `mainstay server remove {name}` if it is lost for good"
        ),
        (_, false) => format!("{silent} ({why}): bring it back"),
    }
}

/// Where a member is in the log, and how far behind the leader.
fn position(report: &ServerReport, leader: Option<&ServerReport>, wrong: &mut Vec<String>) -> String {
    let MemberReport { id, applied_index, raft_index, revision, .. } = &report.store;
    let Some(leader) = leader else {
        return format!(", has applied entry {applied_index} of {raft_index}, revision {revision}");
    };
    if *id == leader.store.id {
        return format!(", leads the store, entry {applied_index}, revision {revision}");
    }
    if report.store.leader.is_none() {
        wrong.push(format!(
            "server {} knows no leader although {} leads: open the store's port (2380) between them",
            report.name, leader.name
        ));
    }
    let entries = leader.store.raft_index.saturating_sub(*applied_index);
    let revisions = leader.store.revision.saturating_sub(*revision).max(0);
    if entries > LAG_MAX {
        wrong.push(format!(
            "server {} is {entries} entries behind the leader: its disk or its network is too slow, see /metrics/store",
            report.name
        ));
    }
    match (entries, revisions) {
        (0, _) => format!(", up to date, entry {applied_index}, revision {revision}"),
        _ => format!(", {entries} entries and {revisions} revisions behind the leader"),
    }
}

fn space(name: &str, store: &MemberReport, wrong: &mut Vec<String>) {
    if store.no_space {
        wrong.push(format!(
            "the disk of server {name} is full, and writes are refused: make room, they go on by themselves"
        ));
    }
    if let Some(quota) = store.quota_bytes.filter(|quota| store.size_bytes > quota / 10 * 9) {
        wrong.push(format!(
            "the store of server {name} has {} of the {} that it may have: delete what is not needed",
            bytes(store.size_bytes),
            bytes(quota)
        ));
    }
    for alarm in &store.alarms {
        let what = if alarm == "CORRUPT" {
            "its data differs from the others': remove it, and let it join again with an empty directory"
        } else {
            "its store is full, and writes are refused: delete what is not needed, then disarm the alarm"
        };
        wrong.push(format!("server {name} has the alarm {alarm}: {what}"));
    }
}

fn size(store: &MemberReport) -> String {
    match store.quota_bytes {
        Some(quota) => format!("{} of {}", bytes(store.size_bytes), bytes(quota)),
        None => bytes(store.size_bytes),
    }
}

/// How many servers have a vote, and how many of them answer.
struct Quorum {
    voters: usize,
    answering: usize,
}

impl Quorum {
    fn of(asked: &[Asked]) -> Self {
        let voters = || asked.iter().filter(|one| !one.is_learner);
        Self { voters: voters().count(), answering: voters().filter(|one| one.told.is_ok()).count() }
    }

    fn majority(&self) -> usize {
        self.voters / 2 + 1
    }

    fn is_there(&self) -> bool {
        self.answering >= self.majority()
    }

    fn tell(&self, has_leader: bool, said: &mut Said) {
        let Self { voters, answering } = self;
        if !has_leader {
            let none = if self.is_there() { "none of them leads" } else { "a majority is needed" };
            said.line(format!("store: {answering} of {voters} servers answer, and {none}"));
            said.wrong(
                "no server leads: writes wait until a majority of the servers answers (if those are lost for good: `mainstay server recover --help`)"
                    .to_owned(),
            );
        } else if *voters > 1 {
            let spare = match answering.saturating_sub(self.majority()) {
                0 => "none more may be lost".to_owned(),
                spare => format!("{spare} more may be lost"),
            };
            said.line(format!("store: {answering} of {voters} servers answer, {spare}"));
        }
    }
}

fn snapshots(name: &str, schedule: Option<&ScheduleState>, now: i64, said: &mut Said) {
    let Some(ScheduleState { place, last, failure, next_at, interval_seconds }) = schedule else {
        return said.line(format!("snapshots of {name}: none are taken by the clock"));
    };
    let next = if *next_at > now { format!("in {}", span(next_at - now)) } else { "now".to_owned() };
    said.line(match last {
        Some(last) => format!(
            "snapshots of {name}: the last is {}, taken {} ({} ago), {}, in {place}; the next {next}",
            last.name,
            shown(last.at),
            span(now - last.at),
            bytes(last.bytes),
        ),
        None => format!("snapshots of {name}: none yet in {place}; the first {next}"),
    });
    if let Some(failure) = failure {
        let times =
            if failure.attempts == 1 { "once".to_owned() } else { format!("{} times", failure.attempts) };
        said.wrong(format!(
            "server {name} has failed to take a snapshot since {} ({times}), and tries again: {}",
            shown(failure.since),
            failure.why
        ));
    } else if now > next_at + SNAPSHOT_LATE_SECONDS.max(i64::try_from(*interval_seconds / 10).unwrap_or(0)) {
        said.wrong(format!(
            "server {name} has a snapshot to take since {}, and does not get on: see its log",
            shown(*next_at)
        ));
    }
}

/// The certificates of one machine.
pub(super) fn certificates(name: &str, held: &[CertificateReport], now: i64, said: &mut Said) {
    let leaves = held.iter().filter(|one| !one.is_authority);
    if let Some(first) = leaves.min_by_key(|one| one.not_after) {
        said.line(format!(
            "certificates of {name}: {}, the first to end is {}, in {}",
            held.len(),
            first.name,
            span(first.not_after - now)
        ));
    }
    for one in held {
        let CertificateReport { name: file, renewed_at, not_after, is_authority } = one;
        let ends = shown(*not_after);
        let grace = LATE_SECONDS.min((not_after - renewed_at) / 2);
        if now >= *not_after {
            said.wrong(format!(
                "certificate {file} of {name} ended {ends}: start its process again, and see its log"
            ));
        } else if *is_authority {
            if not_after - now < AUTHORITY_SECONDS {
                said.wrong(format!(
                    "the authority {file} of {name} ends {ends}: exchange it before, by `mainstay certs rotate --authority`"
                ));
            }
        } else if now >= renewed_at + grace {
            said.wrong(format!(
                "certificate {file} of {name} ends {ends}, and should have been renewed {}: run `mainstay certs rotate` there, and see its log",
                shown(*renewed_at)
            ));
        }
    }
}

/// A time in the unit that fits.
fn span(seconds: i64) -> String {
    match seconds {
        ..=0 => "0 s".to_owned(),
        1..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn bytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshots::{Failure, Taken};

    const NOW: i64 = 1_764_000_000;
    const DAY: i64 = 86_400;

    fn certificate(name: &str, days: i64) -> CertificateReport {
        CertificateReport {
            name: name.to_owned(),
            is_authority: name == "ca.crt",
            renewed_at: NOW + (days - 91) * DAY,
            not_after: NOW + days * DAY,
        }
    }

    fn report(name: &str, index: u64) -> ServerReport {
        ServerReport {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            unix_millis: 0,
            store: MemberReport {
                id: name.to_owned(),
                leader: Some("m1".to_owned()),
                term: 3,
                raft_index: index,
                applied_index: index,
                revision: i64::try_from(index / 2).unwrap(),
                size_bytes: 13 << 20,
                quota_bytes: Some(8 << 30),
                no_space: false,
                alarms: Vec::new(),
            },
            snapshots: Some(ScheduleState {
                place: "/backup".to_owned(),
                interval_seconds: 43_200,
                last: Some(Taken {
                    name: "scheduled-x.snapshot".to_owned(),
                    at: NOW - 7_200,
                    bytes: 3 << 20,
                }),
                failure: None,
                next_at: NOW + 36_000,
            }),
            certificates: Ok(vec![certificate("ca.crt", 3000), certificate("apiserver.crt", 300)]),
        }
    }

    fn asked(report: ServerReport, ahead: i64) -> Asked {
        Asked {
            name: report.name.clone(),
            peer_urls: "https://192.0.2.1:2380".to_owned(),
            is_learner: false,
            is_listed: Some(true),
            told: Ok((report, ahead)),
        }
    }

    fn lost(name: &str, is_listed: Option<bool>) -> Asked {
        Asked { is_listed, told: Err("connection refused".to_owned()), ..asked(report(name, 0), 0) }
    }

    #[test]
    fn a_cluster_that_is_well_is_told_in_lines_and_nothing_is_wrong() {
        let said = servers(
            &[asked(report("m1", 90), 3), asked(report("m2", 90), -3), asked(report("m3", 80), 0)],
            NOW,
        );
        let expected = [
            "server m1 at https://192.0.2.1:2380: serves, leads the store, entry 90, revision 45, 13.0 MiB of 8192.0 MiB, mainstay 0.1.0",
            "server m2 at https://192.0.2.1:2380: serves, up to date, entry 90, revision 45, 13.0 MiB of 8192.0 MiB, mainstay 0.1.0",
            "server m3 at https://192.0.2.1:2380: serves, 10 entries and 5 revisions behind the leader, 13.0 MiB of 8192.0 MiB, mainstay 0.1.0",
            "store: 3 of 3 servers answer, 1 more may be lost",
            "snapshots of m1: the last is scheduled-x.snapshot, taken 2025-11-24T14:00:00Z (2 h ago), 3.0 MiB, in /backup; the next in 10 h",
            "certificates of m1: 2, the first to end is apiserver.crt, in 300 days",
        ];
        assert_eq!(said.lines[..6], expected);
        assert_eq!(said.wrong, Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        let mut slow = report("m2", 90);
        slow.store.applied_index = 1;
        slow.store.no_space = true;
        slow.version = "0.2.0".to_owned();
        let failure =
            Failure { since: NOW - 3600, attempts: 60, why: "writing /backup: No space left".to_owned() };
        slow.snapshots.as_mut().unwrap().failure = Some(failure);
        slow.certificates =
            Ok(vec![certificate("ca.crt", 200), certificate("peer.crt", 80), certificate("a.crt", -1)]);
        let mut leading = report("m1", 6_001);
        leading.snapshots.as_mut().unwrap().next_at = NOW - 2 * DAY;
        let said = servers(&[asked(leading, 0), asked(slow, 9_500), lost("m3", Some(false))], NOW);
        let starts = [
            "the clock of server m2 is 9 s ahead of this machine's: have both follow",
            "the disk of server m2 is full",
            "server m2 is 6000 entries behind the leader",
            "server m3 does not answer (connection refused): bring it back, or remove it with `mainstay server remove m3`",
            "server m1 has a snapshot to take since 2025-11-22T16:00:00Z",
            "server m2 has failed to take a snapshot since 2025-11-24T15:00:00Z (60 times), and tries again: writing /backup",
            "the authority ca.crt of m2 ends",
            "certificate peer.crt of m2 ends 2026-02-12T16:00:00Z, and should have been renewed 2025-11-13",
            "certificate a.crt of m2 ended 2025-11-23",
            "the servers run different versions (m1 0.1.0, m2 0.2.0)",
        ];
        assert_eq!(said.wrong.len(), starts.len(), "{:#?}", said.wrong);
        for (wrong, start) in said.wrong.iter().zip(starts) {
            assert!(wrong.starts_with(start), "{wrong}\nis not: {start}");
        }
        assert!(said.lines.contains(&"store: 2 of 3 servers answer, none more may be lost".to_owned()));
    }

    #[test]
    fn a_cluster_without_a_leader_says_what_waits_and_how_far_each_is() {
        let mut left = report("m1", 90);
        left.store.applied_index = 88;
        let said = servers(&[asked(left.clone(), 0), lost("m2", Some(true)), lost("m3", None)], NOW);
        assert!(
            said.lines[0].contains("serves, has applied entry 88 of 90, revision 45"),
            "{:?}",
            said.lines
        );
        assert!(said.lines.contains(&"store: 1 of 3 servers answer, and a majority is needed".to_owned()));
        assert!(
            said.wrong.iter().any(|wrong| wrong.starts_with("no server leads: writes wait")),
            "{:?}",
            said.wrong
        );
        assert_eq!(said.wrong[0], "server m2 does not answer (connection refused): bring it back");
        left.store.leader = None;
        let said = servers(&[asked(left.clone(), 0), asked(left, 0)], NOW);
        assert!(said.lines.contains(&"store: 2 of 2 servers answer, and none of them leads".to_owned()));
    }

    #[test]
    fn a_server_that_only_this_machine_misses_is_no_lost_one() {
        let well = ["m1", "m3"].map(|name| asked(report(name, 90), 0));
        let [first, third] = well;
        let said = servers(&[first, lost("m2", Some(true)), third], NOW);
        assert!(said.wrong[0].contains("look at the network in between"), "{:?}", said.wrong);
    }
}
