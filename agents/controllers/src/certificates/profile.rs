//! What each signer demands of a request; texts are upstream's. Pure.

use super::subject::Subject;

/// Upstream's signers that this cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    /// `kubernetes.io/kube-apiserver-client`.
    Client,
    /// `kubernetes.io/kube-apiserver-client-kubelet`.
    KubeletClient,
    /// `kubernetes.io/kubelet-serving`.
    KubeletServing,
}

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
const SIGNATURE: &str = "digital signature";
const ENCIPHERMENT: &str = "key encipherment";
const CLIENT_AUTH: &str = "client auth";
const SERVER_AUTH: &str = "server auth";

impl Profile {
    /// The profile of a signer, none for signers that are not this cluster's.
    pub(super) fn of(signer: &str) -> Option<Self> {
        match signer {
            "kubernetes.io/kube-apiserver-client" => Some(Self::Client),
            "kubernetes.io/kube-apiserver-client-kubelet" => Some(Self::KubeletClient),
            "kubernetes.io/kubelet-serving" => Some(Self::KubeletServing),
            _ => None,
        }
    }

    /// Whether the request is one that the signer signs.
    pub(super) fn check(self, subject: &Subject, usages: &[String]) -> Result<(), String> {
        match self {
            Self::Client => check_usages(usages, CLIENT_AUTH),
            Self::KubeletClient => {
                check_node(subject)?;
                if !subject.dns_names.is_empty() {
                    return Err("DNS subjectAltNames are not allowed".to_owned());
                }
                if subject.emails > 0 {
                    return Err("Email subjectAltNames are not allowed".to_owned());
                }
                if !subject.addresses.is_empty() {
                    return Err("IP subjectAltNames are not allowed".to_owned());
                }
                if subject.uris > 0 {
                    return Err("URI subjectAltNames are not allowed".to_owned());
                }
                check_usages(usages, CLIENT_AUTH)
            }
            Self::KubeletServing => {
                if subject.dns_names.is_empty() && subject.addresses.is_empty() {
                    return Err("DNS or IP subjectAltName is required".to_owned());
                }
                if subject.emails > 0 {
                    return Err("Email subjectAltNames are not allowed".to_owned());
                }
                if subject.uris > 0 {
                    return Err("URI subjectAltNames are not allowed".to_owned());
                }
                check_node(subject)?;
                check_usages(usages, SERVER_AUTH)
            }
        }
    }
}

fn check_node(subject: &Subject) -> Result<(), String> {
    if subject.organizations != [NODES] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    if !subject.common_name.starts_with(NODE_PREFIX) {
        return Err("subject common name does not begin with system:node:".to_owned());
    }
    Ok(())
}

/// The purpose must be among the usages; signature and encipherment may be, nothing else.
fn check_usages(usages: &[String], purpose: &str) -> Result<(), String> {
    let allowed = [SIGNATURE, ENCIPHERMENT, purpose];
    let only_allowed = usages.iter().all(|usage| allowed.contains(&usage.as_str()));
    if only_allowed && usages.iter().any(|usage| usage == purpose) {
        return Ok(());
    }
    Err(format!("usages did not match [{}]", allowed.join(" ")))
}
