//! The order of API versions: `v2` before `v1` before `v1beta2` before `v1beta1` before `v1alpha1`. Pure.

use std::cmp::Reverse;

/// A sort key: smaller comes first.
pub(super) fn priority(version: &str) -> (Reverse<u8>, Reverse<u32>, Reverse<u32>, String) {
    let parsed = parse(version);
    let (stability, major, minor) = parsed.unwrap_or((0, 0, 0));
    (Reverse(stability), Reverse(major), Reverse(minor), version.to_owned())
}

fn parse(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let (major, rest) = digits(rest)?;
    if rest.is_empty() {
        return Some((3, major, 0));
    }
    let (stability, rest) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(rest), _) => (2, rest),
        (_, Some(rest)) => (1, rest),
        _ => return None,
    };
    let (minor, rest) = digits(rest)?;
    rest.is_empty().then_some((stability, major, minor))
}

fn digits(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_comes_first_and_newer_before_older() {
        let mut versions = ["v1beta1", "v1", "v1alpha1", "v2", "v1beta2", "foo", "v10"];
        versions.sort_by_key(|v| priority(v));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }
}
