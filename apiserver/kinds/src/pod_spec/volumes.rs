//! Checks of the volumes of a pod.

use super::env::{VOLUME_FIELDS, validate_field, validate_resource};
use super::mounts::{validate_descending, validate_no_backsteps};
use super::spec::Holder;
use super::volume_sources::{Owner, second_source_path, validate_served};
use crate::core::volume::{validate_claim_spec, validate_driver_name};
use mainstay_apiserver_machinery::validation::{
    At, ErrorList, Path, names, quote, validate_annotations, validate_labels,
};
use std::collections::{HashMap, HashSet};

const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const ONE_TYPE: &str = "may not specify more than 1 volume type";
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// Sources in upstream's order: what comes after the first one is too much.
const KINDS: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// Checks volumes of what `holder` says; answers with the sound ones by name.
pub(super) fn validate_volumes<'a>(
    volumes: &At<'a>,
    holder: Holder<'_>,
    errors: &mut ErrorList,
) -> HashMap<&'a str, At<'a>> {
    let made = claims_made(volumes, holder);
    let mut known = HashMap::new();
    for volume in volumes.items() {
        let mut faults = ErrorList::new();
        validate_source(&volume, holder, &mut faults);
        let name = volume.get("name");
        if name.require(&mut faults, "") {
            name.invalid_each(&mut faults, names::dns_label(name.text()));
        }
        if known.contains_key(name.text()) {
            faults.duplicate(&name.path, name.text());
        }
        let claim = volume.dig(&["persistentVolumeClaim", "claimName"]);
        let sound = faults.is_empty();
        errors.append(faults);
        if made.contains(claim.text()) {
            claim.invalid(errors, "must not reference a PVC that gets created for an ephemeral volume");
        }
        if sound {
            known.insert(name.text(), volume);
        }
    }
    known
}

/// The claims that a pod of this name makes for itself.
fn claims_made(volumes: &At<'_>, holder: Holder<'_>) -> HashSet<String> {
    let Holder::Pod { name: pod } = holder else { return HashSet::new() };
    if pod.is_empty() {
        return HashSet::new();
    }
    let ephemeral = volumes.items().filter(|volume| volume.has("ephemeral"));
    ephemeral.map(|volume| format!("{pod}-{}", volume.text_of("name"))).collect()
}

fn validate_source(volume: &At<'_>, holder: Holder<'_>, errors: &mut ErrorList) {
    let mut found = KINDS.iter().filter(|kind| volume.has(kind));
    let Some(first) = found.next() else {
        errors.required(&volume.path, "must specify a volume type");
        return;
    };
    validate_kind(volume, first, holder, errors);
    for kind in found {
        errors.forbidden(&second_source_path(volume, kind), ONE_TYPE);
    }
}

fn validate_kind(volume: &At<'_>, kind: &str, holder: Holder<'_>, errors: &mut ErrorList) {
    let source = volume.get(kind);
    match kind {
        "emptyDir" => {
            let limit = source.get("sizeLimit");
            if limit.text().starts_with('-') {
                errors.forbidden(&limit.path, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => validate_host_path(&source, errors),
        "secret" => {
            source.get("secretName").require(errors, "");
            validate_files(&source, errors);
        }
        "configMap" => {
            source.get("name").require(errors, "");
            validate_files(&source, errors);
        }
        "downwardAPI" => {
            validate_mode(&source.get("defaultMode"), errors);
            // Upstream shows these errors at the source, not at the item.
            for file in source.get("items").items() {
                validate_downward_file(&At::new(file.value, source.path.clone()), errors);
            }
        }
        "projected" => validate_projected(&source, errors),
        "persistentVolumeClaim" => {
            source.get("claimName").require(errors, "");
        }
        "nfs" => validate_nfs(&source, errors),
        "csi" => validate_csi(&source, errors),
        "ephemeral" => validate_ephemeral(volume, &source, holder, errors),
        "image" => {
            let reference = source.get("reference");
            if matches!(holder, Holder::Pod { .. }) {
                reference.require(errors, "");
            }
            let policy = source.get("pullPolicy");
            if policy.require(errors, "") {
                policy.one_of(errors, &["Always", "IfNotPresent", "Never"]);
            }
        }
        served => validate_served(volume, served, Owner::Pod(volume.text_of("name")), errors),
    }
}

fn validate_csi(csi: &At<'_>, errors: &mut ErrorList) {
    validate_driver_name(&csi.get("driver"), errors);
    let secret = csi.get("nodePublishSecretRef");
    let name = secret.get("name");
    if secret.is_set() && name.require(errors, "") {
        // Upstream leaves out the reference in this path.
        errors.invalid_each(&csi.path.child("name"), name.text(), names::dns_subdomain(name.text()));
    }
}

/// Fields of metadata that a template of a claim does not have, as upstream shows them.
const NOT_IN_TEMPLATES: &[(&str, &str)] = &[
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

fn validate_ephemeral(volume: &At<'_>, source: &At<'_>, holder: Holder<'_>, errors: &mut ErrorList) {
    let template = source.get("volumeClaimTemplate");
    if template.is_set() {
        let meta = template.get("metadata");
        let annotations = meta.get("annotations");
        validate_annotations(annotations.map(), &annotations.path, errors);
        let labels = meta.get("labels");
        validate_labels(labels.map(), &labels.path, errors);
        for (field, shown) in NOT_IN_TEMPLATES {
            let at = meta.get(field);
            let is_number = at.int().is_some_and(|number| number != 0);
            if !at.is_empty() || is_number {
                errors.forbidden(&meta.path.child(shown), "cannot be set");
            }
        }
        validate_claim_spec(&template.get("spec"), errors);
    } else {
        errors.required(&template.path, "");
    }
    let name = volume.get("name");
    let Holder::Pod { name: pod } = holder else { return };
    if !pod.is_empty() && !name.is_empty() {
        let claim = format!("{pod}-{}", name.text());
        for fault in names::dns_subdomain(&claim) {
            name.invalid(errors, &format!("PVC name {}: {fault}", quote(&claim)));
        }
    }
}

/// Checks where an NFS volume comes from.
pub(crate) fn validate_nfs(source: &At<'_>, errors: &mut ErrorList) {
    source.get("server").require(errors, "");
    let path = source.get("path");
    path.require(errors, "");
    if !path.text().starts_with('/') {
        path.invalid(errors, "must be an absolute path");
    }
}

/// Checks a path of the host.
pub(crate) fn validate_host_path(source: &At<'_>, errors: &mut ErrorList) {
    let path = source.get("path");
    if !path.require(errors, "") {
        return;
    }
    validate_no_backsteps(path.text(), &path.path, errors);
    let kind = source.get("type");
    let kinds =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if kind.is_set() {
        kind.one_of(errors, &kinds);
    }
}

fn validate_mode(mode: &At<'_>, errors: &mut ErrorList) {
    if mode.int().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        mode.invalid(errors, FILE_MODE);
    }
}

fn validate_files(source: &At<'_>, errors: &mut ErrorList) {
    validate_mode(&source.get("defaultMode"), errors);
    for item in source.get("items").items() {
        validate_file(&item, errors);
    }
}

fn validate_file(item: &At<'_>, errors: &mut ErrorList) {
    item.get("key").require(errors, "");
    let path = item.get("path");
    path.require(errors, "");
    validate_file_path(&path, &path.path, errors);
    validate_mode(&item.get("mode"), errors);
}

/// Checks the path of a file in a volume: below the mount, and not a name that the atomic writer uses.
fn validate_file_path(path: &At<'_>, shown: &Path, errors: &mut ErrorList) {
    validate_descending(path, shown, errors);
    if path.text().starts_with("..") && !path.text().starts_with("../") {
        errors.invalid(shown, path.text(), "must not start with '..'");
    }
}

fn validate_downward_file(file: &At<'_>, errors: &mut ErrorList) {
    let path = file.get("path");
    path.require(errors, "");
    validate_file_path(&path, &path.path, errors);
    let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
    if field.is_set() {
        validate_field(&field, VOLUME_FIELDS, errors);
        if resource.is_set() {
            errors.invalid(
                &file.path,
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            );
        }
    } else if resource.is_set() {
        validate_resource(&resource, true, errors);
    } else {
        errors.required(&file.path, "one of fieldRef and resourceFieldRef is required");
    }
    validate_mode(&file.get("mode"), errors);
}

fn validate_projected(projected: &At<'_>, errors: &mut ErrorList) {
    validate_mode(&projected.get("defaultMode"), errors);
    let mut paths = HashSet::new();
    for source in projected.get("sources").items() {
        let mut found = 0;
        for kind in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let part = source.get(kind);
            if !part.is_set() {
                continue;
            }
            found += 1;
            validate_projection(kind, &part, &projected.path, errors);
            let files = part.get("items").items().map(|item| item.text_of("path"));
            for path in files.filter(|path| !path.is_empty()) {
                if !paths.insert(path) {
                    let shown = if kind == "downwardAPI" { path } else { part.text_of("name") };
                    errors.invalid(&projected.path, shown, "conflicting duplicate paths");
                }
            }
        }
        if found > 1 {
            errors.forbidden(&source.path, "may not specify more than 1 volume type per source");
        }
    }
}

fn validate_projection(kind: &str, part: &At<'_>, projected: &Path, errors: &mut ErrorList) {
    match kind {
        "secret" | "configMap" => {
            part.get("name").require(errors, "");
            for item in part.get("items").items() {
                validate_file(&item, errors);
            }
        }
        "downwardAPI" => {
            for file in part.get("items").items() {
                validate_downward_file(&At::new(file.value, part.path.clone()), errors);
            }
        }
        "serviceAccountToken" => {
            let seconds = part.get("expirationSeconds");
            if let Some(value) = seconds.int() {
                if value < TOKEN_SECONDS_MIN {
                    seconds.invalid(errors, "may not specify a duration less than 10 minutes");
                }
                if value > TOKEN_SECONDS_MAX {
                    seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
                }
            }
            // Upstream shows these errors at the volume, not at the source.
            let path = At::new(part.get("path").value, projected.child("path"));
            if path.require(errors, "") {
                validate_file_path(&path, &path.path, errors);
            }
        }
        other => errors.forbidden(&part.path, &format!("{other} is not supported by this server")),
    }
}
