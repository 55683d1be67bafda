//! Where a request carries its bearer token: the Authorization header, or a WebSocket subprotocol for
//! browsers, which cannot set headers.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

/// The longest token that is looked at, in bytes; a longer one is invalid.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

const PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// A bearer token found in a request, or why what is there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// The request carries no bearer token.
    Absent,
    /// The request carries something in a token's place that cannot be one.
    Malformed,
    /// The token.
    Token(String),
}

/// Takes the bearer token from the Authorization header, else from a WebSocket subprotocol.
pub fn find(headers: &HeaderMap) -> Bearer {
    match from_authorization(headers) {
        Bearer::Absent => from_protocols(headers),
        found => found,
    }
}

/// Removes every credential and identity header, so that no later step and no backend sees one.
/// The subprotocol that carried a token is removed, the others stay.
pub fn strip(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    let foreign: Vec<_> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
    let Some(protocols) = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()) else {
        return;
    };
    if !protocols.contains(PROTOCOL_PREFIX) {
        return;
    }
    let kept = protocols
        .split(',')
        .map(str::trim)
        .filter(|protocol| !protocol.starts_with(PROTOCOL_PREFIX))
        .collect::<Vec<_>>()
        .join(", ");
    match http::HeaderValue::from_str(&kept) {
        Ok(value) if !kept.is_empty() => {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        _ => {
            headers.remove(SEC_WEBSOCKET_PROTOCOL);
        }
    }
}

fn from_authorization(headers: &HeaderMap) -> Bearer {
    let Some(value) = headers.get(AUTHORIZATION) else { return Bearer::Absent };
    let Ok(text) = value.to_str() else { return Bearer::Malformed };
    let text = text.trim();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Bearer::Absent;
    }
    let token = rest.split(' ').next().unwrap_or_default();
    match token.len() {
        0 => Bearer::Absent,
        length if length > TOKEN_BYTES_MAX => Bearer::Malformed,
        _ => Bearer::Token(token.to_owned()),
    }
}

fn from_protocols(headers: &HeaderMap) -> Bearer {
    let mut found = Bearer::Absent;
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let Ok(text) = value.to_str() else { continue };
        for encoded in text.split(',').filter_map(|protocol| protocol.trim().strip_prefix(PROTOCOL_PREFIX)) {
            if found != Bearer::Absent || encoded.len() > TOKEN_BYTES_MAX {
                return Bearer::Malformed;
            }
            let decoded = URL_SAFE_NO_PAD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded));
            match decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
                Some(token) if !token.is_empty() => found = Bearer::Token(token),
                _ => return Bearer::Malformed,
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_other_schemes_are_ignored() {
        assert_eq!(find(&headers(&[("authorization", "bEaReR abc")])), Bearer::Token("abc".to_owned()));
        assert_eq!(find(&headers(&[("authorization", "Basic abc")])), Bearer::Absent);
        assert_eq!(find(&headers(&[("authorization", "Bearer")])), Bearer::Absent);
    }

    #[test]
    fn a_websocket_protocol_carries_a_token_once() {
        let one = headers(&[(
            "sec-websocket-protocol",
            "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj",
        )]);
        assert_eq!(find(&one), Bearer::Token("abc".to_owned()));
        let twice = headers(&[(
            "sec-websocket-protocol",
            "base64url.bearer.authorization.k8s.io.YWJj,base64url.bearer.authorization.k8s.io.YWJj",
        )]);
        assert_eq!(find(&twice), Bearer::Malformed);
    }

    #[test]
    fn stripping_leaves_no_identity_header() {
        let mut map = headers(&[
            ("authorization", "Bearer abc"),
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj"),
            ("accept", "*/*"),
        ]);
        strip(&mut map);
        assert_eq!(map.len(), 2);
        assert_eq!(map["sec-websocket-protocol"], "v5.channel.k8s.io");
    }
}
