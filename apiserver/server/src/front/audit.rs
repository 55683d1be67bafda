//! The `Audit-Id` of a request. Pure.

use smol_str::SmolStr;

/// Upstream's header name.
pub(super) const AUDIT_ID: http::HeaderName = http::HeaderName::from_static("audit-id");

/// The client's own id where it is a sane one, else one made of `random`.
pub(super) fn audit_id(headers: &http::HeaderMap, random: [u8; 16]) -> SmolStr {
    headers
        .get(AUDIT_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= 64)
        .map_or_else(|| uuid::Builder::from_random_bytes(random).into_uuid().to_string().into(), SmolStr::new)
}
