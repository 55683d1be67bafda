//! Answers requests for files of the dashboard: compressed where the client takes it, cached for good where the name tells
//! the content, and bound to what the page may do: scripts, styles, fonts and connections of this server alone.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use mainstay_proto_api::Status;

use super::file::File;
use super::files::FILES;
use crate::encoding::gzip_wanted;
use crate::types::{Response, empty_body, full_body};

/// No inline scripts or styles, no `eval`, nothing from elsewhere, in no one's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What every file says besides.
const HEADERS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    // Pages that Services serve through the API server's proxy have the same origin: no window of theirs reaches this one.
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// The answer to a GET or HEAD below `/ui`; none for other paths. `path` has no slash at its end.
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Option<Result<Response, Status>> {
    let name = match path.strip_prefix("/ui")? {
        "" => "index.html",
        rest => rest.strip_prefix('/')?,
    };
    let Some(file) = FILES.iter().find(|file| file.path == name) else {
        return Some(Err(Status::path_not_found()));
    };
    Some(respond(file, headers))
}

fn respond(file: &File, headers: &HeaderMap) -> Result<Response, Status> {
    let tag = HeaderValue::from_str(&format!("\"{}\"", file.sha256)).map_err(Status::internal)?;
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        let mut tags = value.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"'));
        tags.any(|tag| tag == "*" || tag == file.sha256)
    });
    let mut response = if known { not_modified() } else { content(file, gzip_wanted(headers))? };
    let cache = if file.is_immutable() { "public, max-age=31536000, immutable" } else { "no-cache" };
    let all = response.headers_mut();
    all.insert(ETAG, tag);
    all.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    if file.is_gzip {
        all.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    for (name, value) in HEADERS {
        all.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn not_modified() -> Response {
    let mut response = http::Response::new(empty_body());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

fn content(file: &File, may_compress: bool) -> Result<Response, Status> {
    let compressed = file.is_gzip && may_compress;
    let bytes =
        if compressed { Bytes::from_static(file.bytes) } else { file.plain().map_err(Status::internal)? };
    let mut response = http::Response::new(full_body(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    if compressed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;
    use std::path::{Path, PathBuf};

    use sha2::{Digest as _, Sha256};

    use super::super::files::SOURCES_SHA256;
    use super::*;

    /// As in dashboard/build/embed.ts.
    const SOURCES: [&str; 8] = [
        "build",
        "index.html",
        "package-lock.json",
        "package.json",
        "public",
        "src",
        "tsconfig.json",
        "vite.config.ts",
    ];
    const BYTES_MAX: usize = 600 * 1024;

    fn sha256(bytes: &[u8]) -> String {
        format!("{:x}", Sha256::digest(bytes))
    }

    fn files_under(path: &Path) -> Vec<PathBuf> {
        if !path.is_dir() {
            return vec![path.to_owned()];
        }
        fs::read_dir(path).unwrap().flat_map(|entry| files_under(&entry.unwrap().path())).collect()
    }

    #[test]
    fn the_bundle_is_what_the_sources_give() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboard");
        let mut paths: Vec<(String, PathBuf)> = SOURCES
            .iter()
            .flat_map(|name| files_under(&root.join(name)))
            .map(|path| (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), path))
            .collect();
        paths.sort();
        let mut lines = String::new();
        for (name, path) in &paths {
            writeln!(lines, "{}  {name}", sha256(&fs::read(path).unwrap())).unwrap();
        }
        assert_eq!(
            sha256(lines.as_bytes()),
            SOURCES_SHA256,
            "dashboard/dist was not made of these sources: run `npm ci && npm run build` in dashboard/ and commit dist"
        );
    }

    #[test]
    fn every_file_is_whole_typed_and_they_are_small_together() {
        for file in FILES {
            assert_eq!(sha256(&file.plain().unwrap()), file.sha256, "{} was changed by hand", file.path);
        }
        let total: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(total < BYTES_MAX, "{total} bytes");
        let page = FILES.iter().find(|file| file.path == "index.html").unwrap();
        let page = String::from_utf8(page.plain().unwrap().to_vec()).unwrap();
        assert!(!page.contains("http://") && !page.contains("https://"), "the page asks others: {page}");
        assert!(!page.contains("style=") && !page.contains("<script>"), "inline code: {page}");
    }

    fn ask(path: &str, pairs: &[(HeaderName, &str)]) -> Response {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        answer(path, &headers.collect()).unwrap().unwrap()
    }

    #[test]
    fn compression_is_the_clients_choice() {
        let gzip = ask("/ui", &[(http::header::ACCEPT_ENCODING, "gzip, br")]);
        assert_eq!(gzip.headers()[CONTENT_ENCODING], "gzip");
        assert_eq!(gzip.headers()[VARY], "Accept-Encoding");
        let plain = ask("/ui", &[(http::header::ACCEPT_ENCODING, "gzip;q=0")]);
        assert!(plain.headers().get(CONTENT_ENCODING).is_none());
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let first = ask("/ui", &[]);
        assert_eq!(first.headers()[CACHE_CONTROL], "no-cache");
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        let again = ask("/ui", &[(IF_NONE_MATCH, &format!("\"x\", W/{tag}"))]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(ask("/ui", &[(IF_NONE_MATCH, "\"x\"")]).status(), StatusCode::OK);
        let script = FILES.iter().find(|file| file.is_immutable()).unwrap();
        let script = ask(&format!("/ui/{}", script.path), &[]);
        assert_eq!(script.headers()[CACHE_CONTROL], "public, max-age=31536000, immutable");
    }

    #[test]
    fn the_policy_is_strict_and_other_paths_are_not_ours() {
        let page = ask("/ui", &[]);
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(answer("/uix", &HeaderMap::new()).is_none());
        assert!(answer("/version", &HeaderMap::new()).is_none());
        assert_eq!(answer("/ui/../etc/passwd", &HeaderMap::new()).unwrap().unwrap_err().code, 404);
    }
}
