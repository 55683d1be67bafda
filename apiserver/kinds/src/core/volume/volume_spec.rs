//! The check of a volume's spec, by itself and inside of an attachment.

use super::modes::validate_access_modes;
use crate::amount::{validate_basic_quantity, validate_positive_quantity};
use crate::pod_spec::{
    Owner, second_source_path, validate_host_path, validate_nfs, validate_no_backsteps,
    validate_node_selector, validate_served,
};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};

const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
const INLINE: &str = "in the context of inline volumes";

/// The sources that a spec names.
pub(super) fn sources() -> &'static [&'static str] {
    SOURCES
}

/// Checks the spec of the volume `name`.
pub(super) fn validate_spec(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
    let modes = spec.get("accessModes");
    modes.require(errors, "");
    validate_access_modes(&modes, errors);
    let capacity = spec.get("capacity");
    capacity.require(errors, "");
    if !capacity.has("storage") || capacity.len() > 1 {
        errors.not_supported(&capacity.path, capacity.value.clone(), &["storage"]);
    }
    for (_, amount) in capacity.entries() {
        validate_basic_quantity(&amount, errors);
        validate_positive_quantity(&amount, errors);
    }
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if !policy.is_empty() {
        policy.one_of(errors, &["Delete", "Recycle", "Retain"]);
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.is_set() {
        let required = affinity.get("required");
        if required.is_set() {
            validate_node_selector(&required, errors);
        } else {
            errors.required(&required.path, "must specify required node constraints");
        }
    }
    validate_source(spec, name, errors);
    let root = spec.dig(&["hostPath", "path"]).text().trim_end_matches('/').is_empty();
    if spec.has("hostPath") && root && policy.text() == "Recycle" {
        errors.forbidden(&policy.path, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = spec.get("storageClassName");
    if !class.is_empty() {
        class.invalid_each(errors, names::dns_subdomain(class.text()));
    }
    let mode = spec.get("volumeMode");
    if mode.is_set() {
        mode.one_of(errors, &["Block", "Filesystem"]);
    }
    let attributes = spec.get("volumeAttributesClassName");
    if attributes.is_set() {
        if attributes.is_empty() {
            errors.required(&attributes.path, "an empty string is disallowed");
        } else {
            attributes.invalid_each(errors, names::dns_subdomain(attributes.text()));
        }
        if !spec.has("csi") {
            let text = "has to be specified when using volumeAttributesClassName";
            errors.required(&spec.path.child("csi"), text);
        }
    }
}

fn validate_source(spec: &At<'_>, name: &str, errors: &mut ErrorList) {
    let mut found = 0;
    for kind in SOURCES.iter().filter(|kind| spec.has(kind)) {
        let source = spec.get(kind);
        found += 1;
        if found > 1 {
            let path = second_source_path(spec, kind);
            errors.forbidden(&path, "may not specify more than 1 volume type");
            continue;
        }
        match *kind {
            "hostPath" => validate_host_path(&source, errors),
            "nfs" => validate_nfs(&source, errors),
            "local" => {
                let path = source.get("path");
                if path.require(errors, "") {
                    validate_no_backsteps(path.text(), &path.path, errors);
                }
                if !spec.has("nodeAffinity") {
                    errors.required(&spec.path.child("nodeAffinity"), "Local volume requires node affinity");
                }
            }
            "csi" => validate_csi(&source, errors),
            served => validate_served(spec, served, Owner::Volume(name), errors),
        }
    }
    if found == 0 {
        errors.required(&spec.path, "must specify a volume type");
    }
}

fn validate_csi(csi: &At<'_>, errors: &mut ErrorList) {
    validate_driver_name(&csi.get("driver"), errors);
    csi.get("volumeHandle").require(errors, "");
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = csi.get(field);
        if !secret.is_set() {
            continue;
        }
        let (name, namespace) = (secret.get("name"), secret.get("namespace"));
        if name.require(errors, "") {
            name.invalid_each(errors, names::dns_subdomain(name.text()));
        }
        if namespace.require(errors, "") {
            namespace.invalid_each(errors, names::dns_label(namespace.text()));
        }
    }
}

/// Checks the name of a CSI driver.
pub(crate) fn validate_driver_name(name: &At<'_>, errors: &mut ErrorList) {
    name.require(errors, "");
    if name.text().len() > 63 {
        errors.too_long(&name.path, 63);
    }
    name.invalid_each(errors, names::dns_subdomain(&name.text().to_lowercase()));
}

/// Checks a volume's spec that stands inside of another object.
pub(crate) fn validate_inline_spec(spec: &At<'_>, errors: &mut ErrorList) {
    for field in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
        let field = spec.get(field);
        if !field.is_empty() {
            errors.forbidden(&field.path, &format!("may not be specified {INLINE}"));
        }
    }
    let csi = spec.get("csi");
    if !csi.is_set() {
        errors.required(&csi.path, &format!("has to be specified {INLINE}"));
    }
    let modes = spec.get("accessModes");
    modes.require(errors, "");
    validate_access_modes(&modes, errors);
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if !matches!(policy.text(), "" | "Retain") {
        errors.forbidden(&policy.path, &format!("may only be Retain {INLINE}"));
    }
    let mode = spec.get("volumeMode");
    if !matches!(mode.text(), "" | "Filesystem") {
        errors.forbidden(&mode.path, &format!("may not specify volumeMode other than Filesystem {INLINE}"));
    }
    validate_source(spec, "", errors);
}
