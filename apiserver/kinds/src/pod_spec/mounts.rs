//! Checks of what a container mounts.

use mainstay_apiserver_machinery::validation::{At, ErrorList, Path};
use std::collections::{HashMap, HashSet};

pub(super) fn validate_mounts(container: &At<'_>, volumes: &HashMap<&str, At<'_>>, errors: &mut ErrorList) {
    let mounts = container.get("volumeMounts");
    let devices: Vec<(&str, &str)> = container
        .get("volumeDevices")
        .items()
        .map(|device| (device.text_of("name"), device.text_of("devicePath")))
        .collect();
    let mut paths = HashSet::new();
    for mount in mounts.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        name.require(errors, "");
        let volume = volumes.get(name.text());
        if volume.is_none() {
            errors.not_found(&name.path, name.text());
        }
        path.require(errors, "");
        if !paths.insert(path.text()) {
            path.invalid(errors, "must be unique");
        }
        if devices.iter().any(|(device, _)| *device == name.text()) {
            name.invalid(errors, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|(_, device)| *device == path.text()) {
            path.invalid(errors, "must not already exist as a path in volumeDevices");
        }
        validate_sub_path(&mount, &mounts.path, volume.is_some_and(|volume| volume.has("image")), errors);
        validate_propagation(&mount, container, &mounts.path, errors);
        validate_recursive(&mount, &mounts.path, errors);
    }
}

// Upstream shows these errors at the list, not at the item.
fn validate_sub_path(mount: &At<'_>, list: &Path, is_image: bool, errors: &mut ErrorList) {
    let (plain, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
    for field in [&plain, &expression] {
        if is_image && !field.is_empty() {
            field.invalid(errors, "not allowed in image volume sources");
        }
    }
    if !plain.is_empty() {
        validate_descending(&plain, &list.child("subPath"), errors);
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            expression.invalid(errors, "subPathExpr and subPath are mutually exclusive");
        }
        validate_descending(&expression, &list.child("subPathExpr"), errors);
    }
}

/// Checks a path that stays below where it starts.
pub(super) fn validate_descending(field: &At<'_>, path: &Path, errors: &mut ErrorList) {
    if field.text().starts_with('/') {
        errors.invalid(path, field.text(), "must be a relative path");
    }
    validate_no_backsteps(field.text(), path, errors);
}

pub(crate) fn validate_no_backsteps(text: &str, path: &Path, errors: &mut ErrorList) {
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path, text, "must not contain '..'");
    }
}

fn validate_propagation(mount: &At<'_>, container: &At<'_>, list: &Path, errors: &mut ErrorList) {
    let propagation = mount.get("mountPropagation");
    if !propagation.is_set() {
        return;
    }
    let path = list.child("mountPropagation");
    let privileged = container.dig(&["securityContext", "privileged"]).flag();
    match propagation.text() {
        "Bidirectional" if !privileged => {
            errors.forbidden(
                &path,
                "Bidirectional mount propagation is available only to privileged containers",
            );
        }
        "None" | "HostToContainer" | "Bidirectional" => {}
        other => errors.not_supported(&path, other, &["Bidirectional", "HostToContainer", "None"]),
    }
}

fn validate_recursive(mount: &At<'_>, list: &Path, errors: &mut ErrorList) {
    let mode = mount.get("recursiveReadOnly");
    if !mode.is_set() {
        return;
    }
    let path = list.child("recursiveReadOnly");
    match mode.text() {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.get("readOnly").flag() {
                errors.forbidden(&path, "may only be specified when readOnly is true");
            }
            let propagation = mount.text_of("mountPropagation");
            if !matches!(propagation, "" | "None") {
                errors
                    .forbidden(&path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => errors.not_supported(&path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

pub(super) fn validate_devices(container: &At<'_>, volumes: &HashMap<&str, At<'_>>, errors: &mut ErrorList) {
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    let mounts: Vec<(&str, &str)> = container
        .get("volumeMounts")
        .items()
        .map(|mount| (mount.text_of("name"), mount.text_of("mountPath")))
        .collect();
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        name.require(errors, "");
        if !names.insert(name.text()) {
            name.invalid(errors, "must be unique");
        }
        match volumes.get(name.text()) {
            None => errors.not_found(&name.path, name.text()),
            Some(volume) if volume.has("persistentVolumeClaim") || volume.has("ephemeral") => {}
            Some(_) => name.invalid(
                errors,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
        }
        path.require(errors, "");
        if !paths.insert(path.text()) {
            path.invalid(errors, "must be unique");
        }
        if path.text().split('/').any(|part| part == "..") {
            path.invalid(errors, "can not contain backsteps ('..')");
        }
        if mounts.iter().any(|(mount, _)| *mount == name.text()) {
            name.invalid(errors, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|(_, mount)| *mount == path.text()) {
            path.invalid(errors, "must not already exist as a path in volumeMounts");
        }
    }
}
