//! A Kubernetes client for each part, with the part's own certificate.

use std::path::Path;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use mainstay_base::pki::Leaf;

use crate::kubeconfig;

/// The host in the URL of any of several API servers: a name that all their certificates have.
pub(crate) const API_HOST: &str = "https://kubernetes.default.svc";

/// Where the API server is and whose certificates to trust.
pub(crate) struct ApiEndpoint<'a> {
    /// Such as `https://127.0.0.1:6443`.
    pub(crate) url: &'a str,
    /// The certificate authority, PEM.
    pub(crate) ca_pem: &'a str,
}

/// What a client is made of that authenticates with `leaf` and calls itself `component`, which audit logs and `managedFields` show.
pub(crate) async fn settings(
    endpoint: &ApiEndpoint<'_>,
    component: &str,
    leaf: &Leaf,
) -> anyhow::Result<kube::Config> {
    let doing = || format!("making the API client of {component}");
    let text = kubeconfig::render(endpoint.url, endpoint.ca_pem, component, leaf);
    let parsed = Kubeconfig::from_yaml(&text).with_context(doing)?;
    let mut config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .with_context(doing)?;
    let agent = format!(
        "{component}/{} ({}/{})",
        mainstay_base::version(),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    config.headers.push((http::header::USER_AGENT, agent.parse().with_context(doing)?));
    Ok(config)
}

/// A client as a kubeconfig file says.
///
/// # Errors
/// The file cannot be read or used.
pub(crate) async fn of_kubeconfig(file: &Path) -> anyhow::Result<kube::Client> {
    kube::Client::try_from(settings_of_kubeconfig(file).await?).context("making the API client")
}

/// What a client is made of, as a kubeconfig file says.
///
/// # Errors
/// The file cannot be read or used.
pub(crate) async fn settings_of_kubeconfig(file: &Path) -> anyhow::Result<kube::Config> {
    let parsed = Kubeconfig::read_from(file).with_context(|| format!("reading {}", file.display()))?;
    kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("using {}", file.display()))
}
