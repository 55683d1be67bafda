//! `mainstay server recover`: a cluster that has lost its quorum for good goes on with the one server that is left.
//!
//! It never touches a directory in use, and never gives up a server that still answers.

use std::io::{BufRead as _, IsTerminal as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_store::{Member, RecoverError, RecoverOptions, RecoveryPlan, plan_recovery, recover};
use time::OffsetDateTime;

use crate::agent_files::AgentFile;
use crate::cli::DATA_DIR;
use crate::data_dir::DataDir;
use crate::membership::MemberFile;
use crate::refusal::refuse;
use crate::up::{print_line, runtime};

/// The least that revisions jump forward by; etcd's documentation has this number for restores.
const BUMP_MIN: i128 = 1_000_000_000;
/// No store writes so often for long: a revision of the clock is above all that there were, also after an earlier jump.
const NANOS_PER_REVISION: i128 = 100_000;
/// A server that lives answers within this time.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// `mainstay server recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverFlags {
    /// The data directory of the server that is left; it must not run.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: std::path::PathBuf,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// Says what it will do, asks, and does it.
///
/// # Errors
/// A refusal that says why, before anything was changed; or the disk's. Run again, it ends what was begun.
pub(crate) fn run(flags: &RecoverFlags) -> anyhow::Result<()> {
    let path = std::path::absolute(&flags.data_dir).context("finding the data directory")?;
    let shown = path.display();
    let cluster = DataDir::existing(&path)?;
    if AgentFile::exists(&path) {
        return Err(refuse(format!("{shown} is that of a worker: recover a server")));
    }
    let Some(mut file) = MemberFile::read(&path)? else {
        return Err(refuse(format!(
            "{shown} is that of `mainstay up`, which has no other servers to lose: start it again"
        )));
    };
    if let Some(pid) = DataDir::user(&path)? {
        return Err(refuse(format!(
            "{shown} is in use by mainstay process {pid}: stop this server first, if the others are lost for good"
        )));
    }
    let dir = DataDir::take(&path, &cluster)?; // nobody starts it meanwhile
    let tokio = runtime()?;
    let store = dir.join("store");
    let plan = tokio.block_on(plan_recovery(&store)).map_err(|error| refused(&store, error))?;
    let others: Vec<&Member> = plan.members.iter().filter(|member| member.id != plan.member_id).collect();
    if others.is_empty() && !plan.has_begun {
        forget_others(&mut file, &dir)?;
        return print_line(&format!(
            "{} is the only server of its cluster already: start it with `mainstay server`",
            cluster.node_name
        ));
    }
    refuse_living(&others)?;
    for line in explained(&plan, &cluster.node_name, &path) {
        print_line(&line)?;
    }
    if !flags.yes {
        confirm()?;
    }
    let bump_revision = bump(plan.revision.0, SystemClock.wall());
    let options = RecoverOptions { bump_revision, mark_compacted: true };
    let recovered = tokio.block_on(recover(&store, &options)).context("recovering the store")?;
    forget_others(&mut file, &dir)?;
    print_line(&format!("recovered: the store is at revision {}", recovered.revision))?;
    print_line(&format!(
        "next: start it with `mainstay server --data-dir {shown}` and the flags that it had"
    ))?;
    print_line(
        "then: start the others that can be started; in place of one that is gone for good, a new machine joins by the first command that this one prints",
    )
}

/// How far the revision of a store jumps that has lost writes. What was acknowledged and is lost had revisions, which clients
/// remember: none of them may come again, nor those that came after an earlier jump and are lost with it. So the clock counts.
pub(crate) fn bump(revision: i64, now: OffsetDateTime) -> u64 {
    let by_the_clock = now.unix_timestamp_nanos() / NANOS_PER_REVISION - i128::from(revision);
    u64::try_from(by_the_clock.max(BUMP_MIN)).unwrap_or_default()
}

fn refused(store: &Path, error: RecoverError) -> anyhow::Error {
    match error {
        RecoverError::Empty | RecoverError::Removed => refuse(error.to_string()),
        other => anyhow::Error::new(other).context(format!("looking at {}", store.display())),
    }
}

/// A store that is alone needs nobody to join.
fn forget_others(file: &mut MemberFile, dir: &DataDir) -> anyhow::Result<()> {
    if file.joined || !file.others.is_empty() {
        file.joined = false;
        file.others.clear();
        file.write(dir)?;
    }
    Ok(())
}

/// A server that answers is not lost.
fn refuse_living(others: &[&Member]) -> anyhow::Result<()> {
    for member in others {
        if let Some(url) = member.peer_urls.iter().find(|url| answers(url)) {
            return Err(refuse(format!(
                "server {} answers at {url}, so it is not lost: start this server instead; to give that one up, stop it first",
                member.name
            )));
        }
    }
    Ok(())
}

fn answers(peer_url: &str) -> bool {
    let address = peer_url.split_once("://").and_then(|(_, rest)| rest.parse::<SocketAddr>().ok());
    address.is_some_and(|address| TcpStream::connect_timeout(&address, ANSWER_MAX).is_ok())
}

/// What the recovery does, in words.
fn explained(plan: &RecoveryPlan, name: &str, path: &Path) -> Vec<String> {
    let mut lines = vec![format!("{name} becomes the only server of its cluster ({})", path.display())];
    if plan.has_begun {
        lines.push("  a recovery was begun here before: this ends it".to_owned());
    }
    lines.push(format!(
        "  kept: its keys, its certificates, and all its data; {} entries of its log are applied first",
        plan.entries
    ));
    for member in plan.members.iter().filter(|member| member.id != plan.member_id) {
        let name = if member.name.is_empty() { "(never started)" } else { &member.name };
        lines.push(format!("  given up: server {name} at {}", member.peer_urls.join(", ")));
    }
    lines.push("  lost: what those acknowledged and this one never got".to_owned());
    lines.push(
        "  those that come back with their old data while this one runs join it again by themselves; what they had is kept"
            .to_owned(),
    );
    lines
}

/// Asks at the terminal.
///
/// # Errors
/// A refusal: there is no terminal, or the answer is not yes.
pub(crate) fn confirm() -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(refuse("nothing was changed: there is no terminal to ask at, so give --yes"));
    }
    print_line("type yes to go on:")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("reading the answer")?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refuse("nothing was changed: the answer was not yes")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_store::Revision;

    #[test]
    fn the_plan_names_what_is_kept_and_who_is_given_up() {
        let member = |id, name: &str| Member {
            id,
            name: name.to_owned(),
            peer_urls: vec![format!("https://192.0.2.{id}:2380")],
            client_urls: Vec::new(),
            is_learner: false,
        };
        let plan = RecoveryPlan {
            cluster_id: 7,
            member_id: 1,
            members: vec![member(1, "m1"), member(2, "m2"), member(3, "")],
            revision: Revision(40),
            entries: 3,
            has_begun: false,
        };
        let text = explained(&plan, "m1", Path::new("/d")).join("\n");
        assert!(text.contains("3 entries of its log"), "{text}");
        assert!(text.contains("given up: server m2 at https://192.0.2.2:2380"), "{text}");
        assert!(text.contains("given up: server (never started)") && !text.contains("given up: server m1"));
    }

    #[test]
    fn a_later_jump_leads_above_all_revisions_of_an_earlier_one() {
        let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(1_764_000_000 + seconds).unwrap();
        let to = |revision: i64, now| revision + i64::try_from(bump(revision, now)).unwrap();
        let first = to(400, at(0));
        assert!(to(300, at(60)) > first + 60 * 9_000, "of an older snapshot, after a minute of writes");
        assert_eq!(to(first, at(-3600)), first + 1_000_000_000, "the clock was set back");
    }

    #[test]
    fn a_port_that_is_open_is_a_server_that_lives() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(answers(&format!("https://{address}")));
        drop(listener);
        assert!(!answers(&format!("https://{address}")) && !answers("nonsense"));
    }
}
