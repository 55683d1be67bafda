//! `mainstay config print`: what is in force, and where each value is from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Subcommand};
use serde_yaml_ng::Value;

use super::file::SECRET;
use super::layers::{Settled, settle, variable};
use crate::data_dir::DataDir;
use crate::up::print_line;

/// `mainstay config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the settings that a command would run with, as a configuration file, with where each is from.
    Print(OfCommand),
}

/// A command that this one is about, with its flags.
#[derive(Debug, Args)]
pub(crate) struct OfCommand {
    /// The command.
    #[arg(value_name = "COMMAND", default_value = "server", value_parser = ["server", "agent", "up", "apiserver"])]
    pub(crate) command: String,
    /// Its flags, if there are more than the file and the environment say.
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) flags: Vec<OsString>,
}

impl OfCommand {
    /// The settings of the command.
    ///
    /// # Errors
    /// A refusal of its flags or of the file.
    pub(crate) fn settle(&self) -> anyhow::Result<Settled> {
        let mut words = vec![OsString::from("mainstay"), OsString::from(&self.command)];
        words.extend(self.flags.iter().cloned());
        settle(&words)
    }
}

/// Prints the settings of a command.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn print(settled: &Settled) -> anyhow::Result<()> {
    print_line(render(settled, &remembered(settled)).trim_end())
}

/// What the data directory remembers is stronger than a default.
fn remembered(settled: &Settled) -> BTreeMap<&'static str, (String, PathBuf)> {
    let dir = settled.own().and_then(|own| own.get_one::<PathBuf>("data_dir"));
    // A directory that is damaged or not ours is told at the start; here it only has nothing to say.
    let Some((dir, cluster)) = dir.and_then(|dir| Some((dir, DataDir::cluster(dir).ok()??))) else {
        return BTreeMap::new();
    };
    let file = dir.join("cluster.json");
    let pairs = [
        ("node-name", cluster.node_name),
        ("cluster-cidr", cluster.cluster_cidr.to_string()),
        ("service-cidr", cluster.service_cidr.to_string()),
    ];
    pairs.into_iter().map(|(key, value)| (key, (value, file.clone()))).collect()
}

/// The settings as a configuration file.
fn render(settled: &Settled, remembered: &BTreeMap<&'static str, (String, PathBuf)>) -> String {
    let Some(own) = settled.own() else { return String::new() };
    let mut lines = Vec::new();
    for arg in settled.command.get_arguments() {
        let Some(key) = arg.get_long().filter(|key| !["config", "help", "version"].contains(key)) else {
            continue;
        };
        let source = own.value_source(arg.get_id().as_str());
        let is_default = matches!(source, None | Some(ValueSource::DefaultValue));
        if let Some((value, file)) = remembered.get(key).filter(|_| is_default) {
            lines.push((format!("{key}: {}", plain(value)), file.display().to_string()));
            continue;
        }
        let from = match source {
            Some(ValueSource::EnvVariable) => {
                arg.get_env().map_or_else(|| variable(key), |name| name.to_string_lossy().into_owned())
            }
            Some(ValueSource::CommandLine) if settled.of_file.contains(key) => {
                settled.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default()
            }
            Some(ValueSource::CommandLine) => "flag".to_owned(),
            _ => "default".to_owned(),
        };
        lines.push(match value(arg, own) {
            Some(_) if key == SECRET => (format!("# {key}: (not shown)"), from),
            Some(value) => (format!("{key}: {value}"), from),
            None => (format!("# {key}:"), "not set".to_owned()),
        });
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(60);
    let line = |(line, from): &(String, String)| format!("{line:width$}  # {from}\n");
    lines.iter().map(line).collect::<Vec<_>>().concat()
}

/// A value as YAML; none where the flag has none.
pub(crate) fn value(arg: &Arg, own: &ArgMatches) -> Option<String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Some(own.get_flag(arg.get_id().as_str()).to_string());
    }
    let raw = own.get_raw(arg.get_id().as_str())?;
    let words: Vec<String> = raw.map(|word| plain(&word.to_string_lossy())).collect();
    match (words.as_slice(), arg.get_value_delimiter()) {
        ([one], None) => Some(one.clone()),
        (words, _) => Some(format!("[{}]", words.join(", "))),
    }
}

/// A word as YAML, in quotes where it would be read as something else.
fn plain(word: &str) -> String {
    let reads_back = |value: &Value| match value {
        Value::String(text) => text == word,
        Value::Number(number) => number.to_string() == word,
        Value::Bool(is) => is.to_string() == word,
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => false,
    };
    // As an item of a list, where more characters mean something.
    let items = serde_yaml_ng::from_str::<Vec<Value>>(&format!("[{word}]")).unwrap_or_default();
    if let [item] = items.as_slice()
        && reads_back(item)
    {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_a_file_that_says_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, "bind: 127.0.0.1:7443\naudit-log-maxage: 3\n").unwrap();
        let words =
            ["mainstay", "server", "--agent=false", "--token=secret", "--data-dir"].map(OsString::from);
        let data_dir = OsString::from(dir.path().join("none"));
        let config = OsString::from(format!("--config={}", file.display()));
        let settled = settle(&[&words[..], &[data_dir, config]].concat()).unwrap();
        let held = BTreeMap::from([("node-name", ("node-1".to_owned(), PathBuf::from("/d/cluster.json")))]);
        let text = render(&settled, &held);
        let line = |key: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{key}:")));
            let line = line.unwrap_or_else(|| panic!("{key} in {text}"));
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("bind"), format!("bind: 127.0.0.1:7443 # {}", file.display()));
        assert_eq!(line("agent"), "agent: false # flag");
        assert_eq!(line("log"), "log: 'warn,mainstay=info,openraft=error,kube_client=off' # default");
        assert_eq!(line("authorization-mode"), "authorization-mode: [Node, RBAC] # default");
        assert_eq!(line("node-name"), "node-name: node-1 # /d/cluster.json");
        assert_eq!(line("# token"), "# token: (not shown) # flag");
        assert_eq!(line("# join"), "# join: # not set");
        assert!(!text.contains("secret"));
        let read: Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(read["audit-log-maxage"], Value::from(3));
        assert_eq!(read["log"], Value::from(crate::cli::LOG_FILTER));
    }

    #[test]
    fn words_are_quoted_where_yaml_would_read_something_else() {
        for (word, expected) in
            [("a", "a"), ("5", "5"), ("a,b", "'a,b'"), ("", "''"), ("it's: x", "'it''s: x'")]
        {
            assert_eq!(plain(word), expected);
        }
    }
}
