//! Image references as users write them (`nginx`, `ghcr.io/a/b:v1`, `x@sha256:…`), in their full form.
//! The grammar is that of the OCI distribution specification with Docker's short forms.

use crate::failure::{Failure, Result};

const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

/// A full reference: registry, repository, and a tag or a digest (or both).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host and port, such as `docker.io` or `localhost:5000`.
    pub registry: String,
    /// Path below the registry, such as `library/nginx`.
    pub repository: String,
    /// Present unless only a digest was given.
    pub tag: Option<String>,
    /// `sha256:` and 64 hex digits.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses and completes a reference: `docker.io/`, `library/` and `:latest` are added as Docker does.
    ///
    /// # Errors
    /// `InvalidArgument` with upstream's words for what the grammar does not allow.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Failure::invalid(format!("invalid reference format: {:?}", shorten(text)));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(bad());
        }
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad());
        }
        let (registry, repository) = split_registry(name);
        if !is_registry(&registry) || name.len() > NAME_BYTES_MAX {
            return Err(bad());
        }
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Failure::invalid("invalid reference format: repository name must be lowercase"));
        }
        if !repository.split('/').all(is_path_component) {
            return Err(bad());
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { registry, repository, tag, digest: digest.map(str::to_owned) })
    }

    /// `registry/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `registry/repository:tag`, if there is a tag.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// `registry/repository@digest` for a digest found elsewhere.
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name())
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

fn split_registry(name: &str) -> (String, String) {
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            let rest = if host == "docker.io" && !rest.contains('/') {
                format!("library/{rest}")
            } else {
                rest.to_owned()
            };
            (host.to_owned(), rest)
        }
        Some(_) => ("docker.io".to_owned(), name.to_owned()),
        None => ("docker.io".to_owned(), format!("library/{name}")),
    }
}

fn is_registry(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let labels_fit = name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    port_fits && labels_fit
}

/// Letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let mut separator = String::new();
    let mut seen_any = false;
    for character in component.chars() {
        if character.is_ascii_lowercase() || character.is_ascii_digit() {
            let joined = separator.is_empty()
                || (seen_any
                    && (matches!(separator.as_str(), "." | "_" | "__")
                        || separator.bytes().all(|byte| byte == b'-')));
            if !joined {
                return false;
            }
            separator.clear();
            seen_any = true;
        } else if matches!(character, '.' | '_' | '-') {
            separator.push(character);
        } else {
            return false;
        }
    }
    seen_any && separator.is_empty()
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    bytes.next().is_some_and(word)
        && tag.len() <= TAG_BYTES_MAX
        && bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// `sha256:` and 64 lower-case hex digits: the one algorithm we accept.
pub(crate) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_hex64)
}

/// 64 lower-case hex digits.
pub(crate) fn is_hex64(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_completed_as_docker_does() {
        let long = format!("x@sha256:{}", "a".repeat(64));
        for (short, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("a/b", "docker.io/a/b:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a:v1", "localhost:5000/a:v1"),
            ("reg.example.com/a__b/c--d.e:T.1-x", "reg.example.com/a__b/c--d.e:T.1-x"),
            (long.as_str(), &format!("docker.io/library/{long}")),
        ] {
            assert_eq!(Reference::parse(short).unwrap().to_string(), full, "{short}");
        }
    }

    #[test]
    fn hostile_references_are_refused() {
        let long_tag = format!("a:{}", "x".repeat(1024));
        let long_name = format!("a.b/{}", "x".repeat(300));
        for bad in [
            "",
            ":",
            "a:",
            "../x",
            "a/../b",
            "a/./b",
            "A/b",
            "a//b",
            "/a",
            "a/",
            "a@sha256:short",
            "a b",
            "a:b:c/",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "a:-x",
            "a\n",
            "é",
            "a.b:99999/x",
            "a@md5:00",
            &long_tag,
            &long_name,
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
    }
}
