//! Checks of security contexts.

use super::windows::validate_options;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use std::collections::HashSet;

const ID_MAX: i64 = i32::MAX as i64;
const SYSCTL_CHARACTERS_MAX: usize = 253;
/// One byte less than the longest path.
const APP_ARMOR_BYTES_MAX: usize = 4095;

pub(super) fn validate_pod_security(spec: &At<'_>, errors: &mut ErrorList) {
    let security = spec.get("securityContext");
    if !security.is_set() {
        return;
    }
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        security.get(field).in_range(errors, 0, ID_MAX);
    }
    for group in security.get("supplementalGroups").items() {
        group.in_range(errors, 0, ID_MAX);
    }
    validate_sysctls(spec, &security.get("sysctls"), errors);
    let change = security.get("fsGroupChangePolicy");
    if change.is_set() {
        change.one_of(errors, &["Always", "OnRootMismatch"]);
    }
    let groups = security.get("supplementalGroupsPolicy");
    if groups.is_set() {
        groups.one_of(errors, &["Merge", "Strict"]);
    }
    let labels = security.get("seLinuxChangePolicy");
    if labels.is_set() {
        labels.one_of(errors, &["MountOption", "Recursive"]);
    }
    validate_seccomp(&security.get("seccompProfile"), errors);
    validate_options(&security.get("windowsOptions"), errors);
    validate_app_armor(&security.get("appArmorProfile"), errors);
}

fn validate_sysctls(spec: &At<'_>, sysctls: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for sysctl in sysctls.items() {
        let name = sysctl.get("name");
        let text = name.text();
        if text.is_empty() {
            errors.required(&name.path, "");
        } else if !is_sysctl(text) {
            let pattern = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            let text =
                format!("must have at most {SYSCTL_CHARACTERS_MAX} characters and match regex {pattern}");
            name.invalid(errors, &text);
        } else if !seen.insert(text) {
            errors.duplicate(&name.path, text);
        }
        // The namespace of a sysctl must not be shared with the host.
        if text.starts_with("net.") && spec.get("hostNetwork").flag() {
            errors.invalid(&name.path, text, "may not be specified when 'hostNetwork' is true");
        }
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| text.starts_with(prefix));
        if (ipc || text == "kernel.sem") && spec.get("hostIPC").flag() {
            errors.invalid(&name.path, text, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= SYSCTL_CHARACTERS_MAX
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            bytes.first().is_some_and(|b| edge(*b))
                && bytes.last().is_some_and(|b| edge(*b))
                && bytes.iter().all(|b| edge(*b) || matches!(b, b'-' | b'_'))
        })
}

fn validate_seccomp(profile: &At<'_>, errors: &mut ErrorList) {
    if !profile.is_set() {
        return;
    }
    let (kind, file) = (profile.get("type"), profile.get("localhostProfile"));
    match kind.text() {
        "" => errors.required(&kind.path, "type is required when seccompProfile is set"),
        "Localhost" if !file.is_set() => {
            errors.required(&file.path, "must be set when seccomp type is Localhost");
        }
        "Localhost" => validate_relative(&file, errors),
        "RuntimeDefault" | "Unconfined" => {
            if file.is_set() {
                // Upstream shows the profile as a whole.
                let text = "can only be set when seccomp type is Localhost";
                errors.invalid(&file.path, profile.value.clone(), text);
            }
        }
        other => errors.not_supported(&kind.path, other, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

fn validate_relative(file: &At<'_>, errors: &mut ErrorList) {
    if file.text().starts_with('/') {
        file.invalid(errors, "must be a relative path");
    }
    if file.text().split('/').any(|part| part == "..") {
        file.invalid(errors, "must not contain '..'");
    }
}

fn validate_app_armor(profile: &At<'_>, errors: &mut ErrorList) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    match kind.text() {
        "" => errors.required(&kind.path, "type is required when appArmorProfile is set"),
        "Localhost" if local.is_empty() => {
            errors.required(&local.path, "must be set when AppArmor type is Localhost");
        }
        "Localhost" => {
            if local.text().trim() != local.text() {
                local.invalid(errors, "must not be padded with whitespace");
            }
            if local.text().len() > APP_ARMOR_BYTES_MAX {
                errors.too_long(&local.path, APP_ARMOR_BYTES_MAX);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.is_set() {
                local.invalid(errors, "can only be set when AppArmor type is Localhost");
            }
        }
        other => errors.not_supported(&kind.path, other, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

pub(super) fn validate_container_security(security: &At<'_>, host_users: bool, errors: &mut ErrorList) {
    if !security.is_set() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        security.get(field).in_range(errors, 0, ID_MAX);
    }
    let mount = security.get("procMount");
    if mount.is_set() {
        mount.one_of(errors, &["Default", "Unmasked"]);
        if mount.text() == "Unmasked" && host_users {
            mount.invalid(errors, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    let escalation = security.get("allowPrivilegeEscalation");
    if escalation.value.as_bool() == Some(false) {
        if security.get("privileged").flag() {
            errors.invalid(
                &security.path,
                security.value.clone(),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        let added = security.dig(&["capabilities", "add"]);
        if added.items().any(|one| one.text() == "CAP_SYS_ADMIN") {
            errors.invalid(
                &security.path,
                security.value.clone(),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    validate_seccomp(&security.get("seccompProfile"), errors);
    validate_app_armor(&security.get("appArmorProfile"), errors);
    validate_options(&security.get("windowsOptions"), errors);
}
