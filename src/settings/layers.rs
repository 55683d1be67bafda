//! [`settle`]: one command line made of all that says something about a command.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::file::{CONFIG_FILE, ConfigFile, Setting};
use crate::cli::{Arguments, explained};
use crate::refusal::refuse;

/// Commands that run as daemons: every setting of the file must be one of theirs.
const DAEMONS: [&str; 4] = ["server", "agent", "up", "apiserver"];
/// Commands whose flags and environment are etcd's.
const OF_ETCD: [&str; 2] = ["store", "snapshot"];
/// What a variable of the environment begins with.
const PREFIX: &str = "MAINSTAY_";
/// The flag that names the file.
const CONFIG: &str = "config";

/// A command line whose sources are known.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The command that it is about, with the flags that it takes.
    pub(crate) command: Command,
    /// What is in force, by all sources; of the whole command line.
    pub(crate) matches: ArgMatches,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// The flags whose values are the file's.
    pub(crate) of_file: BTreeSet<String>,
}

impl Settled {
    /// What is in force for the command itself.
    pub(crate) fn own(&self) -> Option<&ArgMatches> {
        self.matches.subcommand().map(|(_, own)| own)
    }

    /// What is in force, by name.
    ///
    /// # Errors
    /// A refusal of flags.
    pub(crate) fn arguments(&self) -> anyhow::Result<Arguments> {
        Arguments::from_arg_matches(&self.matches).map_err(|error| explained(&error, None))
    }
}

/// Settles a command line, the program's name first.
///
/// # Errors
/// A refusal of flags or of the file. Where help is asked for, it is shown and the process ends.
pub(crate) fn settle(words: &[OsString]) -> anyhow::Result<Settled> {
    let whole = with_sources(Arguments::command());
    let flags = |error: clap::Error| explained(&error, None);
    // What is said by flags and environment alone, were it complete or not. Help and version end here.
    let said = whole.clone().ignore_errors(true).try_get_matches_from(words).map_err(flags)?;
    let Some((name, own)) = said.subcommand() else {
        let matches = whole.try_get_matches_from(words).map_err(flags)?;
        return Ok(Settled { command: Arguments::command(), matches, file: None, of_file: BTreeSet::new() });
    };
    let command = whole.find_subcommand(name).cloned().unwrap_or_default();
    let file = if own.subcommand().is_some() || OF_ETCD.contains(&name) {
        None
    } else {
        configuration(&command, own)?
    };
    let given = file.iter().flat_map(|file| file.entries.iter());
    let taken = taken(&command, own, given)
        .map_err(|what| refuse(format!("{}: {what}", path_of(file.as_ref()).display())))?;
    let mut all: Vec<OsString> = words.iter().take(2).cloned().collect();
    all.extend(taken.iter().flat_map(|(_, words)| words.iter().map(OsString::from)));
    all.extend(words.iter().skip(2).cloned());
    let of_file: BTreeSet<String> = taken.into_iter().map(|(key, _)| key).collect();
    let matches = whole
        .try_get_matches_from(all)
        .map_err(|error| explained(&error, blamed(&error.to_string(), &of_file, file.as_ref()).as_deref()))?;
    Ok(Settled { command, matches, file: file.map(|file| file.path), of_file })
}

/// Gives each flag its variable of the environment, and daemons the flag that names the file.
fn with_sources(arguments: Command) -> Command {
    arguments.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        if OF_ETCD.contains(&name.as_str()) {
            return command;
        }
        let command = if DAEMONS.contains(&name.as_str()) {
            let help = format!(
                "File with settings by the names of these flags [default: {CONFIG_FILE}, where it is]"
            );
            let config = Arg::new(CONFIG).long(CONFIG).value_name("FILE").help(help);
            command.arg(config.value_parser(clap::value_parser!(PathBuf)))
        } else {
            command
        };
        with_environment(command)
    })
}

fn with_environment(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_long().map(variable) {
        Some(variable) if arg.get_env().is_none() => arg.env(variable).hide_env(true),
        _ => arg,
    });
    command.mut_subcommands(with_environment)
}

/// The variable of a flag.
pub(super) fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_"))
}

/// The file that the command reads. One that is named must be there.
fn configuration(command: &Command, own: &ArgMatches) -> anyhow::Result<Option<ConfigFile>> {
    let is_daemon = DAEMONS.contains(&command.get_name());
    let named = if is_daemon {
        own.get_one::<PathBuf>(CONFIG).cloned()
    } else {
        std::env::var_os(variable(CONFIG)).map(PathBuf::from)
    };
    let must_exist = named.is_some();
    ConfigFile::read(named.as_deref().unwrap_or_else(|| Path::new(CONFIG_FILE)), must_exist)
}

/// The settings of the file that nothing stronger says, as words of the command line.
fn taken<'a>(
    command: &Command,
    own: &ArgMatches,
    entries: impl Iterator<Item = &'a (String, Setting)>,
) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut taken = Vec::new();
    for (key, setting) in entries {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(key) && key != CONFIG);
        let Some(arg) = arg else {
            if DAEMONS.contains(&command.get_name()) {
                return Err(unknown(command, key));
            }
            continue; // the file is that of a daemon: other commands take from it what they know
        };
        let source = own.value_source(arg.get_id().as_str());
        if matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            continue;
        }
        taken.push((key.clone(), words(arg, key, setting)?));
    }
    Ok(taken)
}

fn unknown(command: &Command, key: &str) -> String {
    let name = command.get_name();
    let dashed = key.trim_start_matches('-').replace('_', "-").to_lowercase();
    let takes = |command: &Command, key: &str| command.get_arguments().any(|arg| arg.get_long() == Some(key));
    if takes(command, &dashed) {
        return format!("there is no setting {key:?}: write {dashed:?}");
    }
    let all = Arguments::command();
    let other =
        DAEMONS.iter().find(|other| all.find_subcommand(other).is_some_and(|other| takes(other, key)));
    other.map_or_else(
        || format!("there is no setting {key:?}: `mainstay {name} --help` lists them, without their --"),
        |other| format!("{key:?} is a setting of `mainstay {other}`, not of `mainstay {name}`"),
    )
}

/// A setting as words of the command line.
fn words(arg: &Arg, key: &str, setting: &Setting) -> Result<Vec<String>, String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return match setting {
            Setting::One(value) if value == "true" => Ok(vec![format!("--{key}")]),
            Setting::One(value) if value == "false" => Ok(Vec::new()),
            _ => Err(format!("{key:?} is a switch: give true or false")),
        };
    }
    match (setting, arg.get_value_delimiter()) {
        (Setting::One(value), _) => Ok(vec![format!("--{key}={value}")]),
        (Setting::Many(_), None) => Err(format!("{key:?} takes one value, not a list")),
        (Setting::Many(values), Some(delimiter)) => {
            if values.iter().any(|value| value.contains(delimiter)) {
                return Err(format!("a value of {key:?} holds {delimiter:?}, which divides values"));
            }
            Ok(vec![format!("--{key}={}", values.join(&delimiter.to_string()))])
        }
    }
}

/// Which flags of clap's words the user did not write, but the file.
fn blamed(error: &str, of_file: &BTreeSet<String>, file: Option<&ConfigFile>) -> Option<String> {
    let named = |key: &&String| {
        let flag = format!("--{key}");
        error.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == flag)
    };
    let flags: Vec<String> = of_file.iter().filter(named).map(|key| format!("--{key}")).collect();
    let path = path_of(file);
    (!flags.is_empty()).then(|| format!("{} is said by {}", flags.join(", "), path.display()))
}

fn path_of(file: Option<&ConfigFile>) -> PathBuf {
    file.map_or_else(|| PathBuf::from(CONFIG_FILE), |file| file.path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settles a command line with this text as the file of settings.
    fn settled(text: &str, words: &[&str]) -> Result<Settled, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let mut all = vec![OsString::from("mainstay")];
        all.extend(words.iter().map(OsString::from));
        all.push(format!("--config={}", path.display()).into());
        settle(&all).map_err(|error| error.to_string())
    }

    fn value(settled: &Settled, id: &str) -> Option<String> {
        let mut raw = settled.own()?.get_raw(id)?;
        raw.next().map(|value| value.to_string_lossy().into_owned())
    }

    #[test]
    fn flags_are_stronger_than_the_file_and_the_file_than_defaults() {
        let text = "node-name: of-file\nbind: 127.0.0.1:7443\nlog-json: true\n";
        let settled = settled(text, &["server", "--node-name", "of-flag"]).unwrap();
        assert_eq!(value(&settled, "node_name").as_deref(), Some("of-flag"));
        assert_eq!(value(&settled, "bind").as_deref(), Some("127.0.0.1:7443"));
        assert!(settled.own().unwrap().get_flag("log_json"));
        assert_eq!(settled.of_file.iter().map(String::as_str).collect::<Vec<_>>(), ["bind", "log-json"]);
    }

    #[test]
    fn a_list_is_one_flag_and_a_required_flag_may_be_the_files() {
        let text = "etcd-servers: [http://a:1, http://b:2]\n";
        let settled = settled(text, &["apiserver"]).unwrap();
        let servers = settled.own().unwrap().get_many::<String>("etcd_servers").unwrap();
        assert_eq!(servers.collect::<Vec<_>>(), ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn the_file_is_checked_strictly_and_errors_name_it() {
        let cases = [
            ("nodename: x\n", "server", "there is no setting \"nodename\""),
            ("node_name: x\n", "server", "write \"node-name\""),
            ("etcd-servers: x\n", "server", "is a setting of `mainstay apiserver`, not of `mainstay server`"),
            ("log-json: yes please\n", "server", "is a switch"),
            ("node-name: [a]\n", "server", "takes one value"),
            ("authorization-mode: ['Node,RBAC']\n", "server", "which divides values"),
            ("bind: nonsense\n", "server", "--bind is said by "),
            ("config: x\n", "server", "there is no setting \"config\""),
            ("agent: maybe\n", "server", "--agent is said by "),
        ];
        for (text, command, expected) in cases {
            let error = settled(text, &[command]).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn every_flag_of_ours_has_a_variable_and_etcds_keep_theirs() {
        let whole = with_sources(Arguments::command());
        let server = whole.find_subcommand("server").unwrap();
        let variables: Vec<_> = server.get_arguments().filter_map(Arg::get_env).collect();
        assert!(variables.iter().any(|name| *name == "MAINSTAY_NODE_NAME"), "{variables:?}");
        let longs = server.get_arguments().filter(|arg| arg.get_long().is_some());
        assert_eq!(variables.len(), longs.count());
        let store = whole.find_subcommand("store").unwrap();
        assert!(
            store
                .get_arguments()
                .filter_map(Arg::get_env)
                .all(|name| { name.to_str().is_some_and(|name| name.starts_with("ETCD_")) })
        );
    }
}
