//! Image references, pull policies and registry credentials. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use mainstay_proto_wire::cri::v1;
use serde_json::Value;

/// `name[:tag][@digest]`, with `:latest` when neither is stated. Checks the parts that users get wrong.
pub(crate) fn normalize(stated: &str) -> Result<String, String> {
    let bad = || format!("couldn't parse image name \"{stated}\": invalid reference format");
    let (name, digest) = match stated.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (stated, None),
    };
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name.get(slash..).and_then(|last| last.find(':')) {
        Some(colon) => (name.get(..slash + colon).ok_or_else(bad)?, name.get(slash + colon + 1..)),
        None => (name, None),
    };
    let mut parts: Vec<&str> = path.split('/').collect();
    let registry = parts.len() > 1
        && parts.first().is_some_and(|p| {
            p.contains(['.', ':']) || *p == "localhost" || p.chars().any(|c| c.is_ascii_uppercase())
        });
    if registry {
        parts.remove(0);
    }
    if parts.iter().any(|part| !path_part(part)) || tag.is_some_and(|t| !tag_ok(t)) {
        return Err(bad());
    }
    if parts.iter().any(|part| part.chars().any(|c| c.is_ascii_uppercase())) {
        return Err(format!(
            "couldn't parse image name \"{stated}\": invalid reference format: repository name ({path}) must be lowercase"
        ));
    }
    if digest.is_some_and(|d| !digest_ok(d)) {
        return Err(bad());
    }
    Ok(if tag.is_none() && digest.is_none() { format!("{stated}:latest") } else { stated.to_owned() })
}

fn path_part(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !part.is_empty()
        && part.chars().all(inner)
        && part.starts_with(|c: char| c.is_ascii_alphanumeric())
        && part.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn tag_ok(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= 128
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn digest_ok(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(kind, hex)| {
        !kind.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

/// What the API defaulted, or upstream's default from the tag.
pub(crate) fn pull_policy(container: &Container) -> &str {
    if let Some(stated) = container.image_pull_policy.as_deref().filter(|p| !p.is_empty()) {
        return stated;
    }
    let image = container.image.as_deref().unwrap_or_default();
    let latest = normalize(image).is_ok_and(|r| r.ends_with(":latest"));
    if latest { "Always" } else { "IfNotPresent" }
}

/// The credentials of the pod's pull secrets that fit the image's registry, most specific first.
pub(crate) fn credentials(
    pod: &Pod,
    secrets: &BTreeMap<String, Arc<Secret>>,
    image: &str,
) -> Vec<v1::AuthConfig> {
    let names = pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten());
    let mut found: Vec<(usize, v1::AuthConfig)> = Vec::new();
    for secret in names.filter_map(|n| secrets.get(&n.name)) {
        let data = |key: &str| secret.data.as_ref().and_then(|d| d.get(key));
        let config: Option<Value> = data(".dockerconfigjson").and_then(|b| serde_json::from_slice(&b.0).ok());
        let auths = match config {
            Some(mut config) => config.get_mut("auths").map(Value::take),
            None => data(".dockercfg").and_then(|b| serde_json::from_slice(&b.0).ok()),
        };
        for (server, entry) in auths.iter().filter_map(Value::as_object).flatten() {
            let scope = scope(server);
            if matches(&scope, image)
                && let Some(auth) = auth(server, entry)
            {
                found.push((scope.len(), auth));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

/// `https://index.docker.io/v1/` → `index.docker.io`.
fn scope(server: &str) -> String {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let bare = bare.trim_end_matches("/v1").trim_end_matches("/v2");
    if bare == "index.docker.io" { "docker.io".to_owned() } else { bare.to_owned() }
}

fn matches(scope: &str, image: &str) -> bool {
    let first = image.split('/').next().unwrap_or_default();
    let has_registry = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = if has_registry { image.to_owned() } else { format!("docker.io/{image}") };
    full.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

fn auth(server: &str, entry: &Value) -> Option<v1::AuthConfig> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if username.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(text("auth")).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, pass) = decoded.split_once(':')?;
        (username, password) = (user.to_owned(), pass.to_owned());
    }
    Some(v1::AuthConfig {
        username,
        password,
        server_address: server.to_owned(),
        identity_token: text("identitytoken"),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_get_their_default_tag_or_are_refused() {
        for (stated, want) in [
            ("busybox", Ok("busybox:latest")),
            ("busybox:1", Ok("busybox:1")),
            ("localhost:5000/a/b", Ok("localhost:5000/a/b:latest")),
            ("localhost:5000/a/b:v1.2", Ok("localhost:5000/a/b:v1.2")),
            ("a@sha256:0123456789abcdef0123456789abcdef", Ok("a@sha256:0123456789abcdef0123456789abcdef")),
        ] {
            assert_eq!(normalize(stated).as_deref(), want, "{stated}");
        }
        for bad in ["", "Bad", "a b", "a:", "a::b", "a/", "/a", "a@sha256:xyz", "a:b/c:", "ü"] {
            assert!(normalize(bad).is_err(), "{bad:?}");
        }
        assert!(normalize("Bad").unwrap_err().contains("must be lowercase"));
    }

    #[test]
    fn the_most_specific_credential_comes_first() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {"containers": [],
            "imagePullSecrets": [{"name": "s"}, {"name": "none"}]}}))
        .unwrap();
        let config = serde_json::json!({"auths": {
            "r.io": {"auth": "dTpw"}, "https://r.io/team": {"username": "t", "password": "q"}, "other.io": {"auth": "dTpw"}}});
        let secret = Secret {
            data: Some(
                [(".dockerconfigjson".to_owned(), k8s_openapi::ByteString(config.to_string().into_bytes()))]
                    .into(),
            ),
            ..Secret::default()
        };
        let all = credentials(&pod, &[("s".to_owned(), Arc::new(secret))].into(), "r.io/team/app:1");
        let users: Vec<_> = all.iter().map(|a| a.username.as_str()).collect();
        assert_eq!(users, ["t", "u"]);
    }
}
