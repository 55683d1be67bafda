//! Semantic versions (semver.org 2.0).

use super::dispatch::Called;
use super::quantity::order;
use crate::eval::failed;
use crate::value::Val;
use smol_str::SmolStr;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<SmolStr>,
    build: SmolStr,
}

pub(super) fn call<'a>(function: &str, _is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    let number = |version: &Semver, at: usize| {
        let number = version.numbers.get(at).copied().unwrap_or_default();
        Ok(Val::Int(i64::try_from(number).unwrap_or(i64::MAX)))
    };
    Some(match (function, args) {
        ("semver", [Val::Str(text)]) => semver(text, false),
        ("semver", [Val::Str(text), Val::Bool(normalize)]) => semver(text, *normalize),
        ("isSemver", [Val::Str(text)]) => Ok(Val::Bool(Semver::parse(text, false).is_some())),
        ("isSemver", [Val::Str(text), Val::Bool(normalize)]) => {
            Ok(Val::Bool(Semver::parse(text, *normalize).is_some()))
        }
        ("major", [Val::Semver(one)]) => number(one, 0),
        ("minor", [Val::Semver(one)]) => number(one, 1),
        ("patch", [Val::Semver(one)]) => number(one, 2),
        ("compareTo", [Val::Semver(one), Val::Semver(other)]) => Ok(Val::Int(order(one.compare(other)))),
        ("isGreaterThan", [Val::Semver(one), Val::Semver(other)]) => {
            Ok(Val::Bool(one.compare(other).is_gt()))
        }
        ("isLessThan", [Val::Semver(one), Val::Semver(other)]) => Ok(Val::Bool(one.compare(other).is_lt())),
        _ => return None,
    })
}

fn semver<'a>(text: &str, normalize: bool) -> Called<'a> {
    match Semver::parse(text, normalize) {
        Some(version) => Ok(Val::Semver(Arc::new(version))),
        None => failed("No Major.Minor.Patch elements found"),
    }
}

impl Semver {
    fn parse(text: &str, normalize: bool) -> Option<Self> {
        let text = if normalize { text.strip_prefix('v').unwrap_or(text) } else { text };
        let (text, build) = text.split_once('+').map_or((text, ""), |(text, build)| (text, build));
        let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let mut numbers = [0_u64; 3];
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 || (parts.len() < 3 && !normalize) {
            return None;
        }
        for (number, part) in numbers.iter_mut().zip(&parts) {
            let leading = part.len() > 1 && part.starts_with('0') && !normalize;
            if part.is_empty() || leading || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            *number = part.parse().ok()?;
        }
        let pre: Vec<SmolStr> = pre.into_iter().flat_map(|pre| pre.split('.')).map(SmolStr::new).collect();
        let fits =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !pre.iter().all(|part| fits(part)) || (!build.is_empty() && !build.split('.').all(fits)) {
            return None;
        }
        Some(Self { numbers, pre, build: build.into() })
    }

    /// The order of two versions; what was built does not count.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let part = |one: &SmolStr, other: &SmolStr| match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => one.cmp(other),
        };
        let pre = || match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.pre.iter().zip(&other.pre).map(|(one, other)| part(one, other));
                let first = pairs.into_iter().find(|order| order.is_ne());
                first.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then_with(pre)
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}
