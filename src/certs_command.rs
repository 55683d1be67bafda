//! `mainstay certs`: the certificates of a machine, when they end, and what renews them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use mainstay_base::pki::{Facts, facts};
use rustix::process::{Pid, Signal, kill_process};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::agent_files::AgentFile;
use crate::authority::{self, RotateAuthority};
use crate::cli::DATA_DIR;
use crate::data_dir::DataDir;
use crate::refusal::refuse;
use crate::store_command::parse_duration;
use crate::up::{print_line, runtime};

/// A process that renews is done within this time; a worker has to ask the servers.
const RENEWED_WITHIN: Duration = Duration::from_secs(60);
/// So often a directory is read that changes meanwhile.
const LOOKS_MAX: usize = 20;
/// Between two looks at the files that it writes.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// `mainstay certs`.
#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// List the certificates of this machine: whose they are, when they end, and what renews them.
    ///
    /// The exit code is 1 if one has ended or will end within --within, so that a monitor can run this. A server and a worker
    /// renew theirs by themselves when a quarter of their time is left; they need not be restarted.
    Status {
        #[command(flatten)]
        at: CertsFlags,
        /// What counts as soon.
        #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = parse_duration)]
        within: Duration,
    },
    /// Have the server or worker that runs on this machine renew all its certificates now, without a restart.
    ///
    /// No connection is dropped: what is under way ends with the certificates that it began with.
    ///
    /// With --authority the whole cluster exchanges the authority that these certificates are of for a new one, stage by stage; no
    /// stage begins before all servers and workers have done the one before. It stops half-way, where everything of before still
    /// works, and says what is to be fetched anew; --finish then ends the old one. Interrupted, it is run again and goes on.
    Rotate {
        #[command(flatten)]
        at: CertsFlags,
        /// Exchange the cluster's authority (ca.crt) for a new one, up to where both count.
        #[arg(long)]
        authority: bool,
        /// Drop the old authority: kubeconfigs and join tokens of before the exchange end.
        #[arg(long, requires = "authority")]
        finish: bool,
        /// An administrator's kubeconfig [default: that of the data directory].
        #[arg(long, value_name = "FILE", requires = "authority")]
        kubeconfig: Option<PathBuf>,
        /// How long machines are waited for that lack something.
        #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, requires = "authority")]
        timeout: Duration,
    },
}

/// Which machine's.
#[derive(Debug, Args)]
pub(crate) struct CertsFlags {
    /// The data directory of the server or worker.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
}

/// One certificate of a data directory.
pub(crate) struct Held {
    /// Its file's name.
    pub(crate) name: String,
    /// What it says of itself.
    pub(crate) facts: Facts,
}

/// Carries out one of the commands.
///
/// # Errors
/// No cluster, a certificate that ends soon, or a process that does not renew.
pub(crate) fn run(command: &CertsCommand) -> anyhow::Result<()> {
    match command {
        CertsCommand::Status { at, within } => status(&at.data_dir, *within),
        CertsCommand::Rotate { at, authority: true, finish, kubeconfig, timeout } => {
            let own = at.data_dir.join("admin.kubeconfig");
            let kubeconfig = kubeconfig.as_ref().unwrap_or(&own);
            authority::rotate(&RotateAuthority { kubeconfig, finish: *finish, timeout: *timeout })
        }
        CertsCommand::Rotate { at, .. } => rotate(&at.data_dir),
    }
}

fn status(data_dir: &Path, within: Duration) -> anyhow::Result<()> {
    let cluster = DataDir::existing(data_dir)?;
    let now = SystemClock.wall();
    let is_worker = AgentFile::exists(data_dir);
    print_line(&row(["FILE", "SUBJECT", "ENDS", "LEFT", "RENEWED BY"]))?;
    let mut soon = Vec::new();
    let exchange = authority::stage_held(&data_dir.join("pki"))?;
    for held in held(data_dir)? {
        let by = renewed_by(&held, is_worker);
        let ends = shown(held.facts.not_after);
        print_line(&row([&held.name, &held.facts.subject, &ends, &left(held.facts.not_after - now), &by]))?;
        if held.facts.not_after <= now + within {
            soon.push(held.name);
        }
    }
    if exchange.is_some() {
        print_line(&authority::told(exchange))?;
    }
    if soon.is_empty() {
        return Ok(());
    }
    let runs = DataDir::user(data_dir)?.is_some();
    let what = if runs { "see the log of the process that runs here" } else { "start it, which renews them" };
    anyhow::bail!(
        "{} of node {} ended or will within {} h: {what}",
        soon.join(", "),
        cluster.node_name,
        within.as_secs() / 3600
    )
}

fn rotate(data_dir: &Path) -> anyhow::Result<()> {
    DataDir::existing(data_dir)?;
    let Some(pid) = DataDir::user(data_dir)? else {
        return Err(refuse(format!(
            "nothing runs in {}: start it first; what is due is renewed at the start",
            data_dir.display()
        )));
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("the lock names no process")?;
    let before = leaves(data_dir)?;
    kill_process(pid, Signal::HUP).context("asking the process to renew")?;
    let waited = async { tokio::time::timeout(RENEWED_WITHIN, until_renewed(data_dir, &before)).await };
    let waited = runtime()?.block_on(waited);
    match waited {
        Ok(renewed) => {
            for held in renewed? {
                print_line(&format!("{} is renewed, until {}", held.name, shown(held.facts.not_after)))?;
            }
            Ok(())
        }
        Err(_elapsed) => anyhow::bail!(
            "not all certificates were renewed within {} s: see the log of the process that runs there",
            RENEWED_WITHIN.as_secs()
        ),
    }
}

/// The certificates once none of them is what it was.
async fn until_renewed(data_dir: &Path, before: &[Held]) -> anyhow::Result<Vec<Held>> {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        // A file is missing for a moment while it is replaced.
        let Ok(now) = leaves(data_dir) else { continue };
        let same = |one: &Held| before.iter().any(|old| old.name == one.name && old.facts == one.facts);
        if now.len() == before.len() && !now.iter().any(same) {
            return Ok(now);
        }
    }
}

fn leaves(data_dir: &Path) -> anyhow::Result<Vec<Held>> {
    Ok(held(data_dir)?.into_iter().filter(|held| !held.facts.is_authority).collect())
}

/// All certificates of a data directory, by name. One that is being replaced is not there for a moment: it is looked for again.
///
/// # Errors
/// A file that cannot be read, or holds no certificate.
pub(crate) fn held(data_dir: &Path) -> anyhow::Result<Vec<Held>> {
    let mut looked = look(data_dir);
    for _again in 0..LOOKS_MAX {
        if looked.is_ok() {
            break;
        }
        looked = look(data_dir);
    }
    looked
}

fn look(data_dir: &Path) -> anyhow::Result<Vec<Held>> {
    let folder = data_dir.join("pki");
    let reading = || format!("reading {}", folder.display());
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(reading)? {
        let file = entry.with_context(reading)?.path();
        if file.extension().is_none_or(|end| end != "crt") {
            continue;
        }
        let reading = || format!("reading {}", file.display());
        let text = std::fs::read_to_string(&file).with_context(reading)?;
        let facts = facts(&text).with_context(reading)?;
        all.push(Held { name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(), facts });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// What renews a certificate, and when.
fn renewed_by(held: &Held, is_worker: bool) -> String {
    if held.facts.is_authority {
        let is_exchanged = held.name == "ca.crt";
        return if is_exchanged { "mainstay certs rotate --authority" } else { "nothing yet" }.to_owned();
    }
    let who = if is_worker { "this worker, by a request to the servers" } else { "this server" };
    format!("{who}, from {}", shown(held.facts.renewed_at()))
}

fn row(cells: [&str; 5]) -> String {
    let [file, subject, ends, left, by] = cells;
    format!("{file:<30} {subject:<46} {ends:<20} {left:>8}  {by}")
}

fn left(time: time::Duration) -> String {
    if time <= time::Duration::ZERO {
        return "ENDED".to_owned();
    }
    match time.whole_seconds() {
        seconds @ ..=599 => format!("{seconds} s"),
        seconds @ 600..=172_799 => format!("{} min", seconds / 60),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn shown(time: OffsetDateTime) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    time.format(&form).unwrap_or_else(|_no_text| time.unix_timestamp().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_in_the_unit_that_fits() {
        let told = |seconds| left(time::Duration::seconds(seconds));
        assert_eq!([told(-1), told(59), told(3600), told(200_000)], ["ENDED", "59 s", "60 min", "2 d"]);
    }

    #[test]
    fn authorities_and_leaves_are_told_apart() {
        let begins = OffsetDateTime::from_unix_timestamp(1_764_000_000).unwrap();
        let facts = |is_authority| Facts {
            subject: "CN=a".to_owned(),
            is_authority,
            not_before: begins,
            not_after: begins + time::Duration::days(365),
        };
        let held = |is_authority| Held { name: "a.crt".to_owned(), facts: facts(is_authority) };
        assert_eq!(renewed_by(&held(true), false), "nothing yet");
        assert!(renewed_by(&held(false), false).starts_with("this server, from 2026-"));
        assert!(renewed_by(&held(false), true).contains("request to the servers"));
    }
}
