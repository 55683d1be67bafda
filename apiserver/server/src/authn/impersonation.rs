//! Acting as somebody else: the Impersonate-* headers. Pure; what rights they ask for is `impersonation_modes`' question.

use std::collections::BTreeMap;

use http::HeaderMap;
use smol_str::SmolStr;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";
/// How many values of all kinds one request may impersonate.
const VALUES_MAX: usize = 1024;

/// Headers that do not add up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImpersonationError {
    /// Groups, uid or extras, but nobody to be.
    #[error("requested {0} without impersonating a user name")]
    NoUser(String),
    /// More values than one request may have.
    #[error("requested to impersonate more than {VALUES_MAX} values")]
    TooMany,
    /// A value that is not text.
    #[error("the value of header {0} is not valid text")]
    NotText(String),
}

/// Whom a request wants to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impersonation {
    pub(super) user: SmolStr,
    pub(super) uid: SmolStr,
    pub(super) groups: Vec<SmolStr>,
    pub(super) extra: BTreeMap<SmolStr, Vec<SmolStr>>,
}

/// Reads the Impersonate-* headers; none when the request has none.
pub fn parse(headers: &HeaderMap) -> Result<Option<Impersonation>, ImpersonationError> {
    let mut wanted = Impersonation::default();
    let mut count = 0;
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with("impersonate-") {
            continue;
        }
        let text = value.to_str().map_err(|_text| ImpersonationError::NotText(name.to_owned()))?;
        let text = SmolStr::from(text);
        count += 1;
        if count > VALUES_MAX {
            return Err(ImpersonationError::TooMany);
        }
        match name {
            USER => wanted.user = text,
            UID => wanted.uid = text,
            GROUP => wanted.groups.push(text),
            _ => {
                if let Some(key) = name.strip_prefix(EXTRA_PREFIX) {
                    wanted.extra.entry(unescape(key).into()).or_default().push(text);
                }
            }
        }
    }
    wanted.complete()
}

/// Removes the headers, so that no later step and no backend sees them.
pub fn strip(headers: &mut HeaderMap) {
    let names: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

impl Impersonation {
    fn complete(self) -> Result<Option<Self>, ImpersonationError> {
        if !self.user.is_empty() {
            return Ok(Some(self));
        }
        if self.groups.is_empty() && self.extra.is_empty() && self.uid.is_empty() {
            return Ok(None);
        }
        let mut parts = Vec::new();
        parts.extend(self.groups.iter().map(|group| format!("group {group:?}")));
        parts.extend(self.extra.keys().map(|key| format!("extra {key:?}")));
        if !self.uid.is_empty() {
            parts.push(format!("uid {:?}", self.uid));
        }
        Err(ImpersonationError::NoUser(parts.join(", ")))
    }
}

/// Undoes percent-encoding in an extra's key, which header names cannot hold as it is, and lowers its case.
/// A key with a broken escape is kept as it came.
pub(super) fn unescape(key: &str) -> String {
    let bytes = key.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            out.push(byte);
            at += 1;
            continue;
        }
        let digit = |index: usize| bytes.get(index).and_then(|byte| char::from(*byte).to_digit(16));
        match (digit(at + 1), digit(at + 2)) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return key.to_owned(),
        }
        at += 3;
    }
    String::from_utf8(out).map_or_else(|_| key.to_owned(), |text| text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn a_uid_group_or_extra_alone_is_refused() {
        for alone in [
            ("Impersonate-Uid", "1"),
            ("Impersonate-Group", "system:masters"),
            ("Impersonate-Extra-Scopes", "a"),
        ] {
            assert!(parse(&headers(&[alone])).is_err(), "{}", alone.0);
        }
        assert_eq!(parse(&headers(&[("accept", "*/*")])), Ok(None));
    }
}
