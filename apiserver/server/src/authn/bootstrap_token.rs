//! Bootstrap tokens: `id.secret`, kept as Secrets in kube-system, with which a node asks for its first certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_kinds::SECRET;
use mainstay_apiserver_machinery::value::Value;
use sha2::{Digest as _, Sha256};
use smol_str::{SmolStr, format_smolstr};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::registry::Registry;
use crate::types::UserInfo;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// Id and secret of a text that has a bootstrap token's form.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
    };
    (plain(id, ID_LENGTH) && plain(secret, SECRET_LENGTH)).then_some((id, secret))
}

/// Whose token it is, by the cluster's Secrets.
pub fn find(registry: &Registry, token: &str, now: OffsetDateTime) -> Option<UserInfo> {
    let (id, secret) = parse(token)?;
    let cached = registry.get(&SECRET, NAMESPACE, &format!("bootstrap-token-{id}"))?;
    if cached.header.deleting {
        return None;
    }
    user(&cached.decode().ok()?, (id, secret), now)
}

/// The user of a token whose Secret this is; none where it does not fit or does not count any more. Pure.
fn user(object: &Value, (id, secret): (&str, &str), now: OffsetDateTime) -> Option<UserInfo> {
    let field = |name: &str| {
        let text = object.path_str(&["data", name])?;
        String::from_utf8(STANDARD.decode(text).ok()?).ok()
    };
    let is_wanted = object.path_str(&["type"]) == Some(TYPE)
        && field("token-id").as_deref() == Some(id)
        && field("usage-bootstrap-authentication").as_deref() == Some("true");
    // Digests are compared, so that the time does not tell how much of a guess was right.
    let fits = Sha256::digest(field("token-secret")?) == Sha256::digest(secret);
    if !is_wanted || !fits {
        return None;
    }
    if let Some(expiration) = field("expiration").filter(|text| !text.is_empty()) {
        // As upstream: a time that cannot be read is over.
        let ends = OffsetDateTime::parse(&expiration, &Rfc3339).ok()?;
        if ends <= now {
            return None;
        }
    }
    let mut groups: Vec<SmolStr> = vec![GROUP.into()];
    for group in field("auth-extra-groups").unwrap_or_default().split(',').map(str::trim) {
        if group.is_empty() {
            continue;
        }
        // One wrong group spoils the token, as upstream.
        if !is_bootstrap_group(group) {
            return None;
        }
        groups.push(group.into());
    }
    Some(UserInfo { name: format_smolstr!("system:bootstrap:{id}"), groups, ..UserInfo::default() })
}

/// `system:bootstrappers:` and a name of lower case letters, digits, dashes and colons that ends with a letter or digit.
fn is_bootstrap_group(group: &str) -> bool {
    let Some(name) = group.strip_prefix("system:bootstrappers:") else { return false };
    let alphanumeric = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    name.len() <= 256
        && name.bytes().all(|byte| alphanumeric(byte) || matches!(byte, b':' | b'-'))
        && name.bytes().next_back().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-01-01 00:00 UTC);

    fn found(change: &[(&str, &str)]) -> Option<UserInfo> {
        let mut object = value!({"type": TYPE, "data": {}});
        let usual = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2026-01-02T00:00:00Z"),
            ("auth-extra-groups", "system:bootstrappers:workers"),
        ];
        for (name, text) in usual.iter().chain(change) {
            object.set_path(&["data", name], STANDARD.encode(text));
        }
        user(&object, ("abcdef", "0123456789abcdef"), NOW)
    }

    #[test]
    fn a_token_counts_only_as_its_secret_says() {
        let user = found(&[]).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:workers"]);
        for wrong in [
            ("token-secret", "0123456789abcdeg"),
            ("token-id", "abcdeg"),
            ("usage-bootstrap-authentication", "false"),
            ("expiration", "2026-01-01T00:00:00Z"),
            ("expiration", "soon"),
            ("auth-extra-groups", "system:masters"),
        ] {
            assert!(found(&[wrong]).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn only_the_exact_form_is_a_bootstrap_token() {
        assert!(parse("abcdef.0123456789abcdef").is_some());
        for other in
            ["abcdef.0123456789abcde", "abcdeF.0123456789abcdef", "abcdef0123456789abcdef", "a.b.c", ""]
        {
            assert!(parse(other).is_none(), "{other}");
        }
    }
}
