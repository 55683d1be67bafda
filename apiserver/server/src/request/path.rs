//! Path normalisation, done once before anything looks at a path, so that router and authorizer see the same one.

/// Why a path is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A segment that could be read as another path: `.`, `..`, or one with an encoded slash or NUL.
    #[error("the path has a segment that is not a name")]
    Ambiguous,
    /// Percent escapes that are broken or do not give UTF-8.
    #[error("the path is not valid UTF-8")]
    Encoding,
    /// Empty segments; the client is sent to the cleaned path.
    #[error("the path has empty segments")]
    NeedsRedirect(String),
}

/// Decodes percent escapes per segment. A trailing slash is kept; empty segments are an error, since Kubernetes
/// redirects to the cleaned path. Proxy tails are taken from the raw path by their endpoint, not from here.
///
/// # Errors
/// See [`PathError`].
pub fn normalise_path(raw: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len());
    let body = raw.strip_prefix('/').unwrap_or(raw);
    if has_empty_segment(body) {
        return Err(PathError::NeedsRedirect(cleaned(raw)));
    }
    for segment in body.split('/') {
        out.push('/');
        out.push_str(&decode_segment(segment)?);
    }
    Ok(out)
}

fn has_empty_segment(body: &str) -> bool {
    let inner = body.strip_suffix('/').unwrap_or(body);
    !body.is_empty() && inner.split('/').any(str::is_empty)
}

fn cleaned(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for segment in raw.split('/').filter(|s| !s.is_empty()) {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

fn decode_segment(segment: &str) -> Result<String, PathError> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut input = segment.bytes();
    while let Some(byte) = input.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (input.next(), input.next()) else { return Err(PathError::Encoding) };
        let digit =
            |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(PathError::Encoding);
        bytes.push(digit(high)? * 16 + digit(low)?);
    }
    let text = String::from_utf8(bytes).map_err(|_utf8| PathError::Encoding)?;
    if text == "." || text == ".." || text.contains(['/', '\0']) {
        return Err(PathError::Ambiguous);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_reading_of_a_path_is_accepted() {
        assert_eq!(normalise_path("/api/v1/pods").unwrap(), "/api/v1/pods");
        assert_eq!(normalise_path("/apis/").unwrap(), "/apis/");
        assert_eq!(normalise_path("/").unwrap(), "/");
        assert_eq!(normalise_path("/api/v1/a%3Ab").unwrap(), "/api/v1/a:b");
        for bad in ["/a/../b", "/a/./b", "/a/%2e%2e/b", "/a/..%2f..%2fb", "/a/x%00"] {
            assert_eq!(normalise_path(bad), Err(PathError::Ambiguous), "{bad}");
        }
        assert_eq!(normalise_path("/a/%c0%ae"), Err(PathError::Encoding));
        assert_eq!(normalise_path("//api//v1"), Err(PathError::NeedsRedirect("/api/v1".into())));
    }
}
