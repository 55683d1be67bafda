//! The part of a kubeconfig file that says where a service is and what to show to it. Pure but for `read`.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Remote;
use crate::config::PemPair;

/// A kubeconfig that names no service.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// Not YAML of the right shape.
    #[error("it is not a kubeconfig: {0}")]
    Decode(#[from] serde_yaml_ng::Error),
    /// A name that leads nowhere.
    #[error("{0}")]
    Missing(String),
    /// A file that it names.
    #[error("reading {path}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Data that is not base64.
    #[error("{0} is not base64")]
    Base64(&'static str),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
    current_context: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    insecure_skip_tls_verify: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

/// The service of the current context. `read` reads the files that are named.
///
/// # Errors
/// [`KubeconfigError`].
pub fn parse_kubeconfig(
    text: &str,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Remote, KubeconfigError> {
    let file: File = serde_yaml_ng::from_str(text)?;
    let missing = |what: String| KubeconfigError::Missing(what);
    let context = (file.contexts.iter()).find(|one| one.name == file.current_context).ok_or_else(|| {
        missing(format!("current-context {:?} is not among the contexts", file.current_context))
    })?;
    let context = &context.context;
    let cluster = file.clusters.iter().find(|one| one.name == context.cluster);
    let cluster =
        &cluster.ok_or_else(|| missing(format!("there is no cluster {:?}", context.cluster)))?.cluster;
    if cluster.insecure_skip_tls_verify {
        return Err(missing(
            "insecure-skip-tls-verify is not done here: give certificate-authority".to_owned(),
        ));
    }
    if !cluster.server.starts_with("https://") {
        return Err(missing(format!("the server {:?} must be an https:// URL", cluster.server)));
    }
    let none = User::default();
    let user = file.users.iter().find(|one| one.name == context.user).map_or(&none, |one| &one.user);
    let source = Source { read };
    let (certificate, key) = (
        source.get(
            "client-certificate-data",
            user.client_certificate_data.as_ref(),
            user.client_certificate.as_ref(),
        )?,
        source.get("client-key-data", user.client_key_data.as_ref(), user.client_key.as_ref())?,
    );
    let identity = match (certificate, key) {
        (Some(cert_pem), Some(key_pem)) => Some(PemPair { cert_pem, key_pem }),
        (None, None) => None,
        _ => return Err(missing("client-certificate and client-key go together".to_owned())),
    };
    let token = match (&user.token, &user.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, file) => source
            .get("", None, file.as_ref())?
            .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()),
    };
    let ca = source.get(
        "certificate-authority-data",
        cluster.certificate_authority_data.as_ref(),
        cluster.certificate_authority.as_ref(),
    )?;
    Ok(Remote {
        url: cluster.server.trim_end_matches('/').to_owned(),
        ca_pem: ca,
        server_name: cluster.tls_server_name.clone(),
        identity,
        bearer_token: token,
    })
}

struct Source<'a> {
    read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl Source<'_> {
    fn get(
        &self,
        field: &'static str,
        data: Option<&String>,
        file: Option<&String>,
    ) -> Result<Option<Vec<u8>>, KubeconfigError> {
        if let Some(data) = data {
            return STANDARD.decode(data).map(Some).map_err(|_decode| KubeconfigError::Base64(field));
        }
        let Some(path) = file else { return Ok(None) };
        (self.read)(Path::new(path))
            .map(Some)
            .map_err(|source| KubeconfigError::File { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_context_decides() {
        let text = r"
apiVersion: v1
kind: Config
clusters:
- name: other
  cluster: {server: 'https://other'}
- name: audit
  cluster: {server: 'https://audit.example.com:8443/events/', certificate-authority: ca.pem}
users:
- name: us
  user: {client-certificate-data: Y2VydA==, client-key-data: a2V5}
contexts:
- name: here
  context: {cluster: audit, user: us}
current-context: here
";
        let read = |path: &Path| {
            assert_eq!(path, Path::new("ca.pem"));
            Ok(b"the ca".to_vec())
        };
        let remote = parse_kubeconfig(text, &read).unwrap();
        assert_eq!(remote.url, "https://audit.example.com:8443/events");
        assert_eq!(remote.ca_pem.unwrap(), b"the ca");
        assert_eq!(remote.identity.unwrap().key_pem, b"key");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let none = |_: &Path| -> io::Result<Vec<u8>> { Err(io::ErrorKind::NotFound.into()) };
        let text = "clusters: [{name: a, cluster: {server: 'http://plain'}}]\ncontexts: [{name: c, context: {cluster: a}}]\ncurrent-context: c\n";
        assert!(parse_kubeconfig(text, &none).unwrap_err().to_string().contains("https:// URL"));
        assert!(parse_kubeconfig("current-context: x", &none).unwrap_err().to_string().contains("contexts"));
        assert!(parse_kubeconfig("{", &none).is_err());
    }
}
