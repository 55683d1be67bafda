//! `mainstay support`: gathers, and says what it could not gather.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use mainstay_base::lifecycle::{Clock as _, SystemClock};
use serde_json::Value;

use super::archive::Archive;
use super::scrub::{scrub, without_tokens};
use crate::agent_files::AgentFile;
use crate::cli::DataDirFlags;
use crate::clients::of_kubeconfig;
use crate::data_dir::DataDir;
use crate::refusal::refuse;
use crate::up::{install_crypto, print_line, runtime};

/// `mainstay support`.
#[derive(Debug, Args)]
pub(crate) struct SupportFlags {
    #[command(flatten)]
    pub(crate) data_dir: DataDirFlags,
    /// Where to write it [default: mainstay-support-NODE-TIME.tar.gz here].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What the API server is asked for: the file, the path, and whether it is a list of objects.
const ASKED: [(&str, &str, bool); 17] = [
    ("api/readyz.txt", "/readyz?verbose", false),
    ("api/version.json", "/version", false),
    ("api/metrics.txt", "/metrics", false),
    ("api/metrics-store.txt", "/metrics/store", false),
    ("api/servers.json", crate::join::SERVERS, false),
    ("api/status.json", crate::status::STATUS, false),
    ("objects/nodes.json", "/api/v1/nodes", true),
    ("objects/pods.json", "/api/v1/pods", true),
    ("objects/events.json", "/api/v1/events", true),
    ("objects/services.json", "/api/v1/services", true),
    ("objects/namespaces.json", "/api/v1/namespaces", true),
    ("objects/endpointslices.json", "/apis/discovery.k8s.io/v1/endpointslices", true),
    ("objects/deployments.json", "/apis/apps/v1/deployments", true),
    ("objects/replicasets.json", "/apis/apps/v1/replicasets", true),
    ("objects/leases.json", "/apis/coordination.k8s.io/v1/leases", true),
    ("objects/apiservices.json", "/apis/apiregistration.k8s.io/v1/apiservices", true),
    ("objects/flowschemas.json", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", true),
];
/// How long one answer may take: a cluster that is not well is what this is for.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// What is asked of programs of the machine: the file, the program and its words.
const PROGRAMS: [(&str, &str, &[&str]); 6] = [
    ("machine/kernel.txt", "uname", &["-a"]),
    ("machine/disks.txt", "df", &["-h"]),
    ("machine/memory.txt", "cat", &["/proc/meminfo"]),
    ("machine/addresses.txt", "ip", &["address"]),
    ("machine/routes.txt", "ip", &["route"]),
    ("machine/journal.txt", "journalctl", &["--unit", "mainstay", "--lines", "20000", "--no-pager"]),
];
/// More of what a program says is cut.
const OUTPUT_MAX: usize = 16 << 20;
/// Entries of the data directory that are listed.
const ENTRIES_MAX: usize = 10_000;

/// Writes the archive.
///
/// # Errors
/// There is no cluster in the data directory, or the archive cannot be written. What cannot be gathered is no error: the
/// archive says why.
pub(crate) fn run(flags: &SupportFlags) -> anyhow::Result<()> {
    let data_dir = &flags.data_dir.data_dir;
    let cluster = DataDir::existing(data_dir)?;
    let now = SystemClock.wall();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let name = format!("mainstay-support-{}-{seconds}", cluster.node_name);
    let file = flags.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let mut gathered = Gathered { archive: Archive::create(&file, &name, seconds)?, lacking: Vec::new() };
    let about = format!("mainstay {}\ntime {now}\n", mainstay_base::version());
    gathered.add("about.txt", Ok(about.into_bytes()))?;
    for known in ["cluster.json", "server.json", "agent.json"] {
        if data_dir.join(known).exists() {
            gathered.add(known, std::fs::read(data_dir.join(known)).map_err(anyhow::Error::from))?;
        }
    }
    gathered.add("files.txt", listing(data_dir).map(String::into_bytes))?;
    let program = std::env::current_exe().context("finding this program")?;
    let dir = data_dir.to_string_lossy().into_owned();
    let command = if AgentFile::exists(data_dir) { "agent" } else { "server" };
    let own: [(&str, &[&str]); 2] = [
        ("status.txt", &["status", "--data-dir", &dir]),
        ("settings.txt", &["config", "print", command, "--data-dir", &dir]),
    ];
    for (file, words) in own {
        gathered.add(file, said(&program, words))?;
    }
    for (file, program, words) in PROGRAMS {
        gathered.add(file, said(Path::new(program), words))?;
    }
    ask(data_dir, &mut gathered)?;
    let lacking = gathered.finish()?;
    print_line(&format!("wrote {}: look at it before you send it", file.display()))?;
    if lacking > 0 {
        print_line(&format!("{lacking} things could not be gathered: lacking.txt in it says which and why"))?;
    }
    Ok(())
}

/// What is there so far.
struct Gathered {
    archive: Archive,
    lacking: Vec<String>,
}

impl Gathered {
    fn add(&mut self, name: &str, found: anyhow::Result<Vec<u8>>) -> anyhow::Result<()> {
        match found {
            Ok(bytes) => self.archive.add(name, &bytes),
            Err(error) => {
                self.lacking.push(format!("{name}: {error:#}\n"));
                Ok(())
            }
        }
    }

    /// How many things it lacks.
    fn finish(mut self) -> anyhow::Result<usize> {
        if !self.lacking.is_empty() {
            self.archive.add("lacking.txt", self.lacking.concat().as_bytes())?;
        }
        self.archive.finish()?;
        Ok(self.lacking.len())
    }
}

/// Asks the API server as the administrator; a worker has no right to.
fn ask(data_dir: &Path, gathered: &mut Gathered) -> anyhow::Result<()> {
    if AgentFile::exists(data_dir) {
        return Ok(());
    }
    install_crypto()?;
    runtime()?.block_on(async {
        let client = match of_kubeconfig(&data_dir.join("admin.kubeconfig")).await {
            Ok(client) => client,
            Err(error) => return gathered.add("api", Err(error)),
        };
        for (file, path, is_list) in ASKED {
            let answer = answer(&client, path).await;
            let found = if is_list { answer.and_then(|text| without_secrets(&text)) } else { answer };
            gathered.add(file, found.map(String::into_bytes))?;
        }
        Ok(())
    })
}

async fn answer(client: &kube::Client, path: &str) -> anyhow::Result<String> {
    let request = http::Request::get(path).body(Vec::new()).context("building the request")?;
    let answer = tokio::time::timeout(ANSWER_MAX, client.request_text(request)).await;
    Ok(answer.map_err(|_elapsed| refuse(format!("no answer within {} s", ANSWER_MAX.as_secs())))??)
}

fn without_secrets(text: &str) -> anyhow::Result<String> {
    let mut list: Value = serde_json::from_str(text).context("reading the list")?;
    scrub(&mut list);
    serde_json::to_string_pretty(&list).context("writing the list")
}

/// What a program says, and on standard error; it must be there, and may fail.
fn said(program: &Path, words: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(program).args(words).output();
    let output = output.with_context(|| format!("running {}", program.display()))?;
    let mut text = [output.stdout, output.stderr].concat();
    text.truncate(OUTPUT_MAX);
    let mut text = without_tokens(&String::from_utf8_lossy(&text));
    if !output.status.success() {
        writeln!(text, "\n({} {}: {})", program.display(), words.join(" "), output.status)
            .context("writing how it ended")?;
    }
    Ok(text.into_bytes())
}

/// Names, sizes and modes of what is in the data directory, two levels deep. No contents.
fn listing(data_dir: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut folders = vec![(data_dir.to_owned(), 0)];
    let mut left = ENTRIES_MAX;
    while let Some((folder, depth)) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
            let Ok(about) = entry.metadata() else { continue }; // it went meanwhile
            let Some(fewer) = left.checked_sub(1) else { return Ok(text + "(and more)\n") };
            left = fewer;
            let path = entry.path();
            let mode = about.permissions().mode() & 0o7777;
            writeln!(text, "{mode:04o} {:>12} {}", about.len(), path.display())
                .context("writing the list")?;
            if about.is_dir() && depth < 1 {
                folders.push((path, depth + 1));
            }
        }
    }
    Ok(text)
}
