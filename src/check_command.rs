//! `mainstay check`: what this machine lacks, before anything is started. Changes nothing.

use std::path::Path;

use crate::agent::AgentFlags;
use crate::agent_files::AgentFile;
use crate::cli::{Command, UpFlags};
use crate::data_dir::DataDir;
use crate::membership::MemberFile;
use crate::refusal::refuse;
use crate::server::ServerFlags;
use crate::settings::Settled;
use crate::up::{check_unused, print_line, resolve};
use crate::{node_address, preflight};

/// One thing that was looked at, and what is wrong with it.
type Finding = (String, Result<(), String>);

/// Says of everything that a daemon needs whether it is there.
///
/// # Errors
/// A refusal where something is not.
pub(crate) fn run(settled: &Settled) -> anyhow::Result<()> {
    let findings = findings(&settled.arguments()?.command);
    let lacking = findings.iter().filter(|(_, found)| found.is_err()).count();
    print_line(render(&findings).trim_end())?;
    if lacking == 0 { Ok(()) } else { Err(refuse(format!("{lacking} of {} checks failed", findings.len()))) }
}

fn findings(command: &Command) -> Vec<Finding> {
    match command {
        Command::Up(flags) => [machine(), cluster(flags, None)].concat(),
        Command::Server(flags) => [machine(), cluster(&flags.up, Some(flags))].concat(),
        Command::Agent(flags) => [machine(), worker(flags)].concat(),
        Command::Apiserver(flags) => {
            vec![port("--bind", flags.bind), finding("data directory", check_unused(&flags.data_dir))]
        }
        _ => Vec::new(), // `OfCommand` names no other
    }
}

fn machine() -> Vec<Finding> {
    let found = |(name, advice): (&str, Option<String>)| (name.to_owned(), advice.map_or(Ok(()), Err));
    preflight::machine().into_iter().map(found).collect()
}

/// What a machine with a store and an API server needs.
fn cluster(flags: &UpFlags, server: Option<&ServerFlags>) -> Vec<Finding> {
    let mut findings = vec![finding(
        format!("data directory {}", flags.data_dir.display()),
        usable(&flags.data_dir, server.is_some()),
    )];
    match resolve(flags, None) {
        Ok(config) => {
            findings.push(finding("settings", Ok(())));
            findings.push(finding("address ranges", preflight::check_ranges(&config.cluster)));
        }
        Err(error) => findings.push(finding("settings", Err(error))),
    }
    findings.push(port("--bind", flags.bind));
    let Some(server) = server else { return findings };
    match node_address::of_server(server.node_ip, flags.bind) {
        Ok(ip) => findings.push(port("--peer-bind", server.peer_address(ip))),
        Err(error) => findings.push(finding("this machine's address", Err(error))),
    }
    findings
}

fn worker(flags: &AgentFlags) -> Vec<Finding> {
    let dir = flags.data_dir.display();
    let joined = || {
        if AgentFile::exists(&flags.data_dir) {
            return Ok(());
        }
        if DataDir::cluster(&flags.data_dir)?.is_some() {
            return Err(refuse(format!(
                "{dir} is that of a server: start it with `mainstay server` or `mainstay up`"
            )));
        }
        if flags.join.is_some() && flags.token.is_some() {
            return Ok(());
        }
        Err(refuse("it joined no cluster yet: give --join and --token, which `mainstay server` prints"))
    };
    vec![
        finding(format!("data directory {dir}"), check_unused(&flags.data_dir)),
        finding("cluster to join", joined()),
    ]
}

/// Whether the directory is this command's, and nobody uses it.
fn usable(data_dir: &Path, is_server: bool) -> anyhow::Result<()> {
    if !is_server && MemberFile::exists(data_dir) {
        return Err(refuse("it is that of a server among others: start it with `mainstay server`"));
    }
    check_unused(data_dir)
}

fn port(flag: &str, bind: std::net::SocketAddr) -> Finding {
    finding(format!("port {bind}"), preflight::port_is_free(flag, bind))
}

fn finding(name: impl Into<String>, found: anyhow::Result<()>) -> Finding {
    (name.into(), found.map_err(|error| format!("{error:#}")))
}

fn render(findings: &[Finding]) -> String {
    let line = |(name, found): &Finding| match found {
        Ok(()) => format!("ok      {name}\n"),
        Err(what) => format!("LACKING {name}: {what}\n"),
    };
    findings.iter().map(line).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::settle;
    use std::ffi::OsString;

    fn checked(words: &[&str]) -> Vec<Finding> {
        let all: Vec<OsString> = ["mainstay"].iter().chain(words).map(OsString::from).collect();
        findings(&settle(&all).unwrap().arguments().unwrap().command)
    }

    fn wrong(findings: &[Finding]) -> String {
        render(findings).lines().filter(|line| line.starts_with("LACKING")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_thing_is_named_with_what_to_do_about_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bind = format!("--bind={}", taken.local_addr().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let data_dir = format!("--data-dir={}", dir.path().display());
        let text = wrong(&checked(&["up", "--config=/dev/null", &bind, &data_dir, "--node-name=Bad_Name"]));
        assert!(text.contains("LACKING settings: --node-name \"Bad_Name\" is not a DNS name"), "{text}");
        assert!(text.contains("is in use by another program: stop it"), "{text}");
        let text = wrong(&checked(&["agent", "--config=/dev/null", &data_dir]));
        assert!(text.contains("LACKING cluster to join: it joined no cluster yet"), "{text}");
    }
}
