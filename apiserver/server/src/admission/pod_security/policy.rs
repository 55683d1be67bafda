//! What a namespace's labels ask for: levels and versions, with upstream's defaults and error texts.

use std::fmt;

use mainstay_apiserver_machinery::validation::{ErrorList, Path};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much a pod may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Self::Privileged),
            "baseline" => Ok(Self::Baseline),
            "restricted" => Ok(Self::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// The minor version whose checks count; the latest where none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Latest,
    Minor(u32),
}

impl Version {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "must be \"latest\" or \"v1.x\"";
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let minor = text.strip_prefix("v1.").ok_or(EXPECTED)?;
        let plain = minor == "0" || !minor.starts_with(['0', '+']);
        minor.parse().ok().filter(|_| plain).map(Self::Minor).ok_or(EXPECTED)
    }
}

/// A level as of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::Latest => write!(f, "{}:latest", self.level),
            Version::Minor(minor) => write!(f, "{}:v1.{minor}", self.level),
        }
    }
}

/// The three modes' standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
}

/// What holds without labels: everything is allowed.
const OPEN: Standard = Standard { level: Level::Privileged, version: Version::Latest };

impl Policy {
    /// The policy of a namespace with these labels, and what is wrong with them. A wrong enforce level counts as
    /// restricted, wrong levels of the others as privileged.
    pub(super) fn of_labels<'a>(label: impl Fn(&str) -> Option<&'a str>) -> (Self, ErrorList) {
        let mut policy = Self { enforce: OPEN, audit: OPEN, warn: OPEN };
        let mut errors = ErrorList::new();
        let get = |name: &str| label(&format!("{PREFIX}{name}"));
        let mut fault = |name: &str, value: &str, detail: &str| {
            let path = Path::new("metadata").child("labels").key(&format!("{PREFIX}{name}"));
            errors.invalid(&path, value, detail);
        };
        let mut enforces = false;
        for (mode, standard, fallback) in [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ] {
            if let Some(text) = get(mode) {
                standard.level = Level::parse(text).unwrap_or_else(|detail| {
                    fault(mode, text, detail);
                    fallback
                });
                enforces |= mode == "enforce" && Level::parse(text).is_ok();
            }
            let version = format!("{mode}-version");
            if let Some(text) = get(&version) {
                standard.version = Version::parse(text).unwrap_or_else(|detail| {
                    fault(&version, text, detail);
                    Version::Latest
                });
            }
        }
        // Whoever enforces wants warnings too, unless the labels say which.
        if get("warn").is_none() && enforces && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if get("warn-version").is_none() {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// Whether no mode asks for anything.
    pub(super) fn is_open(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|standard| standard.level == Level::Privileged)
    }
}
