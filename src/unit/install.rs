//! `mainstay install`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args};

use super::files::{Files, SERVICE};
use super::text::{Service, unit};
use crate::data_dir::write_atomically;
use crate::refusal::refuse;
use crate::settings::{CONFIG_FILE, OfCommand, Settled, value};
use crate::up::print_line;

/// `mainstay install`.
#[derive(Debug, Args)]
pub(crate) struct InstallFlags {
    /// Enable the service, but do not start it now.
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Write the files below this directory, for an image, and ask no systemd.
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) of: OfCommand,
}

/// Makes the daemon a service. Done again with other flags it changes the service.
///
/// # Errors
/// A refusal where something of another's is in the way, or what systemd says.
pub(crate) fn install(flags: &InstallFlags, settled: &Settled) -> anyhow::Result<()> {
    let files = Files::below(flags.root.as_deref())?;
    files.has_unit()?;
    let own = settled.own().context("the command of the service")?;
    let read = match fs::read_to_string(&files.config) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(refuse(format!("{} cannot be read: {error}", files.config.display()))),
    };
    let config = with_settings(&read, &given(settled, own));
    let program = std::env::current_exe().context("finding this program")?;
    let data_dir = own.get_one::<PathBuf>("data_dir").context("the data directory")?;
    let data_dir = std::path::absolute(data_dir).context("finding the data directory")?;
    let runs_pods = match flags.of.command.as_str() {
        "apiserver" => false,
        "server" => own.get_one::<bool>("agent").copied().unwrap_or(true),
        _ => true,
    };
    let text = unit(&Service {
        program: &program,
        command: &flags.of.command,
        config: Path::new(CONFIG_FILE),
        data_dir: &data_dir,
        runs_pods,
    });
    write(&files.config, &config, 0o600)?; // it may hold a token
    write(&files.unit, &text, 0o644)?;
    if flags.root.is_none() && !runs_pods {
        // systemd refuses a service whose directory is not there.
        fs::create_dir_all(&data_dir).with_context(|| format!("making {}", data_dir.display()))?;
    }
    files.enable(!flags.no_start)?;
    if flags.root.is_some() || flags.no_start {
        return print_line(&format!("{SERVICE} starts with the machine"));
    }
    print_line(&format!("{SERVICE} runs and starts with the machine; `journalctl -u mainstay` has its log"))
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let folder = path.parent().with_context(|| format!("{} has no folder", path.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    write_atomically(path, text.as_bytes(), mode)?;
    print_line(&format!("wrote {}", path.display()))
}

/// The settings that flags and environment gave to this command: a service has neither.
fn given(settled: &Settled, own: &ArgMatches) -> Vec<(String, String)> {
    let is_given = |arg: &&Arg| {
        matches!(
            own.value_source(arg.get_id().as_str()),
            Some(ValueSource::CommandLine | ValueSource::EnvVariable)
        )
    };
    let setting = |arg: &Arg| {
        let key = arg.get_long().filter(|key| *key != "config" && !settled.of_file.contains(*key))?;
        Some((key.to_owned(), value(arg, own)?))
    };
    settled.command.get_arguments().filter(is_given).filter_map(setting).collect()
}

/// The file with these settings: a line that says one is replaced, others are added, comments stay.
fn with_settings(text: &str, settings: &[(String, String)]) -> String {
    let head = "# Settings of mainstay on this machine: `mainstay config print` shows them all.\n";
    let mut lines: Vec<String> = if text.is_empty() { vec![head.to_owned()] } else { Vec::new() };
    let key_of = |line: &str| line.split_once(':').map(|(key, _)| key.trim().to_owned());
    let is_new = |key: &str| settings.iter().any(|(new, _)| new == key);
    let mut inside_replaced = false;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '-', '\t']);
        if !is_nested {
            inside_replaced = key_of(line).is_some_and(|key| is_new(&key));
        }
        if !inside_replaced {
            lines.push(format!("{line}\n"));
        }
    }
    lines.extend(settings.iter().map(|(key, value)| format!("{key}: {value}\n")));
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::settle;
    use std::ffi::OsString;

    #[test]
    fn flags_become_lines_and_what_was_there_stays() {
        let words =
            ["mainstay", "server", "--config=/dev/null", "--agent=false", "--log-json", "--bind=127.0.0.1:1"];
        let settled = settle(&words.map(OsString::from)).unwrap();
        let given = given(&settled, settled.own().unwrap());
        let text = with_settings("# mine\nbind: 0.0.0.0:6443\nauthorization-mode:\n- Node\n", &given);
        assert_eq!(
            text,
            "# mine\nauthorization-mode:\n- Node\nbind: 127.0.0.1:1\nlog-json: true\nagent: false\n"
        );
        assert!(with_settings("", &given).starts_with("# Settings of mainstay"));
        let replaced = with_settings(&text, &[("authorization-mode".to_owned(), "[RBAC]".to_owned())]);
        assert!(
            !replaced.contains("- Node") && replaced.ends_with("authorization-mode: [RBAC]\n"),
            "{replaced}"
        );
    }
}
