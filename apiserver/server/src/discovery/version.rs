//! `/version`.

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue};
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::value::Value;

use crate::encoding::raw_response;
use crate::types::Response;

/// The Kubernetes version whose API is served.
pub(super) const MAJOR: &str = "1";
pub(super) const MINOR: &str = "37";

/// The git version clients see: the Kubernetes version, and ours as build metadata.
pub(super) fn git_version() -> String {
    format!("v{MAJOR}.{MINOR}.0+mainstay.{}", mainstay_base::version())
}

/// The answer to `/version`.
pub fn version_response(headers: &HeaderMap) -> Response {
    let mut out = Value::map();
    out.set_path(&["major"], MAJOR);
    out.set_path(&["minor"], MINOR);
    out.set_path(&["emulationMajor"], MAJOR);
    out.set_path(&["emulationMinor"], MINOR);
    out.set_path(&["minCompatibilityMajor"], MAJOR);
    out.set_path(&["minCompatibilityMinor"], "36");
    out.set_path(&["gitVersion"], git_version());
    out.set_path(&["gitCommit"], "");
    out.set_path(&["gitTreeState"], "clean");
    out.set_path(&["buildDate"], "1970-01-01T00:00:00Z");
    out.set_path(&["goVersion"], "none (Rust)");
    out.set_path(&["compiler"], "rustc");
    out.set_path(&["platform"], format!("{}/{}", std::env::consts::OS, arch()));
    let mut bytes = Vec::new();
    json::encode(&out, &mut bytes);
    raw_response(headers, HeaderValue::from_static("application/json"), bytes.into(), StatusCode::OK)
}

/// The architecture by Go's name, which clients know.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
