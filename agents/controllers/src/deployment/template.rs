//! Comparing and hashing pod templates.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use sha2::{Digest, Sha256};

use crate::names::safe_decimal;

/// The label that keeps the pods of a deployment's replica sets apart.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Whether two templates are equal but for the hash label.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    a.spec == b.spec && without_hash(a).metadata == without_hash(b).metadata
}

/// A hash of the template that is the same in every run and process; `collisions` changes it when it hit a taken name.
pub(super) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(template).unwrap_or_default());
    if let Some(collisions) = collisions {
        digest.update(collisions.to_be_bytes());
    }
    let digest = digest.finalize();
    let first = digest.first_chunk::<4>().copied().unwrap_or_default();
    safe_decimal(u32::from_be_bytes(first))
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut metadata = template.metadata.clone().unwrap_or_default();
    metadata.creation_timestamp = None;
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH_LABEL);
    }
    metadata.labels = metadata.labels.filter(|labels| !labels.is_empty());
    metadata.annotations = metadata.annotations.filter(|annotations| !annotations.is_empty());
    PodTemplateSpec { metadata: Some(metadata), spec: None }
}
