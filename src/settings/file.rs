//! The configuration file: settings by the names of flags, in YAML.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;

use crate::refusal::refuse;

/// Where the settings of this machine are.
pub(crate) const CONFIG_FILE: &str = "/etc/mainstay/config.yaml";
/// A setting whose value is shown to nobody, and which a file that others may read must not hold.
pub(super) const SECRET: &str = "token";
/// A larger file is no configuration.
const BYTES_MAX: u64 = 1 << 20;

/// What a configuration file says, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Names of flags, with their values.
    pub(crate) entries: Vec<(String, Setting)>,
}

/// The value of one setting, as words of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl ConfigFile {
    /// Reads the file; `None` where it is not there and need not be.
    ///
    /// # Errors
    /// A refusal that says what is wrong with it.
    pub(crate) fn read(path: &Path, must_exist: bool) -> anyhow::Result<Option<Self>> {
        let unreadable =
            |error: std::io::Error| refuse(format!("{} cannot be read: {error}", path.display()));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let mode = file.metadata().map_err(unreadable)?.permissions().mode();
        let mut text = String::new();
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > BYTES_MAX {
            return Err(refuse(format!("{} is larger than 1 MiB: it is no configuration", path.display())));
        }
        let entries = parse(&text).map_err(|what| refuse(format!("{}: {what}", path.display())))?;
        if mode & 0o044 != 0 && entries.iter().any(|(key, _)| key == SECRET) {
            return Err(refuse(format!(
                "{} holds a {SECRET} and others may read it: `chmod 600 {}`",
                path.display(),
                path.display()
            )));
        }
        Ok(Some(Self { path: path.to_owned(), entries }))
    }
}

/// The settings of a text.
///
/// # Errors
/// What is wrong, in words.
fn parse(text: &str) -> Result<Vec<(String, Setting)>, String> {
    let document: Value = serde_yaml_ng::from_str(text).map_err(|error| format!("not YAML: {error}"))?;
    let mapping = match document {
        Value::Null => return Ok(Vec::new()),
        Value::Mapping(mapping) => mapping,
        _ => return Err("it must be a mapping, such as `node-name: node-1`".to_owned()),
    };
    let entry = |(key, value): (Value, Value)| {
        let key = scalar(&key).ok_or("a name of a setting is no text")?;
        let value = match value {
            Value::Null => return Err(format!("{key:?} has no value: give one, or leave it out")),
            Value::Sequence(items) => {
                let words: Option<Vec<String>> = items.iter().map(scalar).collect();
                Setting::Many(words.ok_or_else(|| format!("{key:?} is not a list of plain values"))?)
            }
            value => Setting::One(
                scalar(&value).ok_or_else(|| format!("{key:?} is neither a plain value nor a list"))?,
            ),
        };
        Ok((key, value))
    };
    mapping.into_iter().map(entry).collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_and_lists_are_words_in_their_order() {
        let text =
            "node-name: node-1\nagent: false\nshutdown-delay-duration: 5\nauthorization-mode: [Node, RBAC]\n";
        let one = |text: &str| Setting::One(text.to_owned());
        let expected = vec![
            ("node-name".to_owned(), one("node-1")),
            ("agent".to_owned(), one("false")),
            ("shutdown-delay-duration".to_owned(), one("5")),
            ("authorization-mode".to_owned(), Setting::Many(vec!["Node".to_owned(), "RBAC".to_owned()])),
        ];
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("# nothing yet\n").unwrap(), vec![]);
    }

    #[test]
    fn what_is_no_configuration_is_refused_in_words() {
        let refused = [
            ("node-name", "must be a mapping"),
            ("a: 1\na: 2\n", "duplicate"),
            ("node-name:\n", "\"node-name\" has no value"),
            ("node-name: {a: b}\n", "neither a plain value nor a list"),
            ("node-name: [[a]]\n", "not a list of plain values"),
            ("a: [\n", "not YAML"),
        ];
        for (text, expected) in refused {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_token_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        let read = |mode: u32, text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            ConfigFile::read(&path, true)
        };
        assert!(read(0o644, "token: a.b\n").unwrap_err().to_string().contains("chmod 600"));
        assert!(read(0o600, "token: a.b\n").unwrap().is_some());
        assert!(read(0o644, "node-name: a\n").unwrap().is_some());
        assert!(ConfigFile::read(&dir.path().join("other"), false).unwrap().is_none());
        assert!(ConfigFile::read(&dir.path().join("other"), true).is_err());
    }
}
