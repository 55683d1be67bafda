//! The checks of a level and version, and what comes of them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use mainstay_apiserver_machinery::value::Value;

use super::policy::{Level, Standard, Version};
use super::{baseline, restricted};

/// The minor version that `latest` stands for: the last in which a check changed.
const LATEST: u32 = 37;

/// The pod that is held against the standards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) metadata: Option<&'a Value>,
    pub(super) spec: &'a Value,
}

impl<'a> Subject<'a> {
    /// Init containers, containers, ephemeral containers.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        lists.into_iter().flat_map(move |list| self.spec.path_list(&[list]))
    }

    /// The pod's own security context.
    pub(super) fn context(self) -> Option<&'a Value> {
        self.spec.get("securityContext")
    }

    /// Annotations, by key.
    pub(super) fn annotations(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let map = self.metadata.and_then(|meta| meta.path_map(&["annotations"]));
        map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// Whether its user namespace is its own.
    pub(super) fn has_own_users(self) -> bool {
        self.spec.path_bool(&["hostUsers"]) == Some(false)
    }

    /// Whether it runs on Windows.
    pub(super) fn is_windows(self) -> bool {
        self.spec.path_str(&["os", "name"]) == Some("windows")
    }
}

/// What a check forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forbidden {
    pub(super) reason: Cow<'static, str>,
    pub(super) detail: String,
}

impl Forbidden {
    /// A result with that reason.
    #[allow(clippy::unnecessary_wraps, reason = "this is what checks return")]
    pub(super) fn of(reason: &'static str, detail: String) -> Option<Self> {
        Some(Self { reason: Cow::Borrowed(reason), detail })
    }
}

/// One check as of a version.
pub(super) type CheckFn = fn(Subject<'_>) -> Option<Forbidden>;

/// A check with its versions, oldest first.
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) versions: &'static [(u32, CheckFn)],
    /// Checks of the level below that this one makes superfluous.
    pub(super) overrides: &'static [&'static str],
}

impl Check {
    fn at(&self, minor: u32) -> Option<CheckFn> {
        self.versions.iter().rev().find(|(since, _)| *since <= minor).map(|(_, check)| *check)
    }
}

/// Everything that the standard forbids about the pod, in upstream's order.
pub(super) fn evaluate(standard: Standard, subject: Subject<'_>) -> Vec<Forbidden> {
    let minor = match standard.version {
        Version::Latest => LATEST,
        Version::Minor(minor) => minor.min(LATEST),
    };
    let restricted: &[Check] = match standard.level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => &[],
        Level::Restricted => restricted::CHECKS,
    };
    let active = |check: &&Check| check.at(minor).is_some();
    let overridden: BTreeSet<&str> =
        restricted.iter().filter(active).flat_map(|check| check.overrides.iter().copied()).collect();
    let baseline = baseline::CHECKS.iter().filter(|check| !overridden.contains(check.id));
    let checks = baseline.chain(restricted).filter_map(|check| check.at(minor));
    checks.filter_map(|check| check(subject)).collect()
}

/// Reasons and details as a refusal tells them.
pub(super) fn details(forbidden: &[Forbidden]) -> String {
    let one = |f: &Forbidden| {
        if f.detail.is_empty() { f.reason.to_string() } else { format!("{} ({})", f.reason, f.detail) }
    };
    forbidden.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The reasons alone.
pub(super) fn reasons(forbidden: &[Forbidden]) -> String {
    forbidden.iter().map(|f| f.reason.as_ref()).collect::<Vec<_>>().join(", ")
}

/// `"a", "b"`.
pub(super) fn quoted<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    items.into_iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
}

/// One word or the other.
pub(super) const fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names.iter().copied()))
}

/// Who set something: the pod, containers, or both; empty when nobody did.
pub(super) fn setters(pod: bool, names: &[&str]) -> String {
    let mut setters = Vec::new();
    if pod {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(containers(names));
    }
    setters.join(" and ")
}

/// A container's name.
pub(super) fn name(container: &Value) -> &str {
    container.path_str(&["name"]).unwrap_or_default()
}
