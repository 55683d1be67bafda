//! A Kubernetes client for each part, with the part's own certificate.

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use mainstay_base::pki::Leaf;

use crate::kubeconfig;

/// Where the API server is and whose certificates to trust.
pub(crate) struct ApiEndpoint<'a> {
    /// Such as `https://127.0.0.1:6443`.
    pub(crate) url: &'a str,
    /// The certificate authority, PEM.
    pub(crate) ca_pem: &'a str,
}

/// A client that authenticates with `leaf`.
pub(crate) async fn connect(
    endpoint: &ApiEndpoint<'_>,
    user: &str,
    leaf: &Leaf,
) -> anyhow::Result<kube::Client> {
    let doing = || format!("making the API client of {user}");
    let text = kubeconfig::render(endpoint.url, endpoint.ca_pem, user, leaf);
    let parsed = Kubeconfig::from_yaml(&text).with_context(doing)?;
    let config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .with_context(doing)?;
    kube::Client::try_from(config).with_context(doing)
}
