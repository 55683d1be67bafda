//! From a pod to the sandbox that the runtime makes for it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use mainstay_proto_wire::cri::v1;

use super::dns::DnsConfig;
use super::quantity::QuantityError;
use super::resources::{cgroup_parent, pod_resources, qos};
use super::security::{SecurityError, sandbox_security};
use crate::names;

/// Linux's limit of a host name.
const HOSTNAME_CHARS_MAX: usize = 63;

/// A sandbox that cannot be described.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    #[error("{0} is not supported by this node")]
    Unsupported(String),
    #[error(
        "the pod's full name {0:?} is longer than {HOSTNAME_CHARS_MAX} characters and setHostnameAsFQDN is set"
    )]
    Fqdn(String),
}

/// What the node adds to the pod's own words.
#[derive(Debug, Clone)]
pub(crate) struct SandboxFacts<'a> {
    pub attempt: u32,
    pub dns: DnsConfig,
    pub cluster_domain: &'a str,
    pub cgroup_root: &'a str,
    pub log_directory: String,
    pub node_hostname: &'a str,
}

/// The sandbox of `pod`.
pub(crate) fn sandbox_config(
    pod: &Pod,
    facts: &SandboxFacts<'_>,
) -> Result<v1::PodSandboxConfig, SandboxError> {
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    let meta = &pod.metadata;
    check_supported(spec)?;
    let uid = meta.uid.clone().unwrap_or_default();
    let (hostname, _) = hostname_and_domain(pod, facts.cluster_domain);
    let hostname = if spec.host_network == Some(true) {
        facts.node_hostname.to_owned()
    } else if spec.set_hostname_as_fqdn == Some(true) {
        full_name(pod, facts.cluster_domain)?
    } else {
        hostname
    };
    let security = spec.security_context.as_ref();
    let sysctls = security.and_then(|s| s.sysctls.as_ref()).into_iter().flatten();
    Ok(v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: meta.name.clone().unwrap_or_default(),
            uid: uid.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            attempt: facts.attempt,
        }),
        hostname,
        log_directory: facts.log_directory.clone(),
        dns_config: Some(v1::DnsConfig {
            servers: facts.dns.servers.clone(),
            searches: facts.dns.searches.clone(),
            options: facts.dns.options.clone(),
        }),
        port_mappings: port_mappings(spec),
        labels: sandbox_labels(pod),
        annotations: sandbox_annotations(pod),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(facts.cgroup_root, qos(pod), &uid),
            security_context: Some(sandbox_security(pod)?),
            sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
            resources: Some(pod_resources(pod)?),
            ..Default::default()
        }),
    })
}

/// Refuses what this node would otherwise leave out in silence.
fn check_supported(spec: &PodSpec) -> Result<(), SandboxError> {
    let unsupported = |what: String| Err(SandboxError::Unsupported(what));
    if let Some(class) = spec.runtime_class_name.as_deref().filter(|c| !c.is_empty()) {
        return unsupported(format!("runtimeClassName {class:?}"));
    }
    if spec.host_users == Some(false) {
        return unsupported("hostUsers: false".to_owned());
    }
    if spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty()) {
        return unsupported("spec.resourceClaims".to_owned());
    }
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    for container in all {
        if container.volume_devices.as_ref().is_some_and(|d| !d.is_empty()) {
            return unsupported(format!("volumeDevices of container {:?}", container.name));
        }
    }
    Ok(())
}

/// The pod's short host name and the domain it lives in (empty without a subdomain).
pub(crate) fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let none = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&none);
    if let Some(over) = spec.hostname_override.as_deref().filter(|h| !h.is_empty()) {
        return (over.to_owned(), String::new());
    }
    let stated = spec.hostname.as_deref().filter(|h| !h.is_empty());
    let name = stated.or(pod.metadata.name.as_deref()).unwrap_or_default();
    let cut: String = name.chars().take(HOSTNAME_CHARS_MAX).collect();
    let hostname = cut.trim_end_matches(['-', '.']).to_owned();
    let domain = match spec.subdomain.as_deref().filter(|s| !s.is_empty()) {
        Some(sub) => {
            format!("{sub}.{}.svc.{cluster_domain}", pod.metadata.namespace.as_deref().unwrap_or_default())
        }
        None => String::new(),
    };
    (hostname, domain)
}

fn full_name(pod: &Pod, cluster_domain: &str) -> Result<String, SandboxError> {
    let (hostname, domain) = hostname_and_domain(pod, cluster_domain);
    let full = if domain.is_empty() { hostname } else { format!("{hostname}.{domain}") };
    if full.len() > HOSTNAME_CHARS_MAX { Err(SandboxError::Fqdn(full)) } else { Ok(full) }
}

/// Host ports; a pod on the node's network needs none.
fn port_mappings(spec: &PodSpec) -> Vec<v1::PortMapping> {
    if spec.host_network == Some(true) {
        return Vec::new();
    }
    let lasting = spec.init_containers.iter().flatten().chain(&spec.containers);
    lasting
        .flat_map(|c| c.ports.iter().flatten())
        .filter(|p| p.host_port.is_some_and(|h| h > 0))
        .map(|p| v1::PortMapping {
            protocol: match p.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            }
            .into(),
            container_port: p.container_port,
            host_port: p.host_port.unwrap_or(0),
            host_ip: p.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

fn sandbox_labels(pod: &Pod) -> BTreeMap<String, String> {
    let mut labels = pod.metadata.labels.clone().unwrap_or_default();
    labels.extend(pod_labels(pod));
    labels
}

/// The three labels by which a restarted agent finds a pod's sandboxes and containers.
pub(crate) fn pod_labels(pod: &Pod) -> [(String, String); 3] {
    let m = &pod.metadata;
    [
        (names::POD_NAME.to_owned(), m.name.clone().unwrap_or_default()),
        (names::POD_NAMESPACE.to_owned(), m.namespace.clone().unwrap_or_default()),
        (names::POD_UID.to_owned(), m.uid.clone().unwrap_or_default()),
    ]
}

fn sandbox_annotations(pod: &Pod) -> BTreeMap<String, String> {
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let grace = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    annotations.insert(names::POD_GRACE.to_owned(), grace.to_string());
    annotations
}
