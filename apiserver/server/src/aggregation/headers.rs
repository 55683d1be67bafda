//! In whose name a request is carried: upstream's front proxy headers. Pure.

use std::fmt::Write as _;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::types::UserInfo;

const PREFIX: &str = "x-remote-";

/// Puts the user into the headers, in place of whatever a client claims there.
pub(super) fn set_user(headers: &mut HeaderMap, user: &UserInfo) {
    let claimed: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    let mut put = |name: &str, value: &str| {
        // Names of users that are no header values are not carried: the other end then refuses the request.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    put("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        put("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        put("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        for value in values {
            put(&name, value);
        }
    }
}

/// A key as part of a header's name: what may not stand there is written as `%XX`.
fn escaped(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.to_lowercase().bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if is_plain {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_replaces_what_a_client_claims() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("x-remote-extra-a", HeaderValue::from_static("b"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let mut user = UserInfo::new("jane", ["dev", "ops"]);
        user.extra.insert("example.com/Scopes".into(), vec!["x".into(), "y".into()]);
        set_user(&mut headers, &user);
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert!(all("x-remote-group").starts_with(&["dev", "ops"]));
        assert_eq!(all("x-remote-extra-example.com%2fscopes"), ["x", "y"]);
        assert!(all("x-remote-extra-a").is_empty() && all("accept") == ["*/*"]);
    }
}
