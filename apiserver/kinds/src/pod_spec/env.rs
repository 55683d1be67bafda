//! Checks of environment variables and of references to the pod's own fields.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};

const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that a downward API volume shows.
pub(super) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Fields of either, as far as they can be read at all.
const READABLE: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const MEMORY_DIVISORS: &[&str] =
    &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
const SEVERAL: &str = "may not have more than one field specified at a time";

pub(super) fn validate_env(env: &At<'_>, errors: &mut ErrorList) {
    for variable in env.items() {
        let name = variable.get("name");
        if name.require(errors, "") {
            name.invalid_each(errors, names::env_var_name(name.text()));
        }
        let from = variable.get("valueFrom");
        if from.is_set() {
            validate_value_from(&from, !variable.get("value").is_empty(), errors);
        }
    }
}

fn validate_value_from(from: &At<'_>, has_value: bool, errors: &mut ErrorList) {
    let mut sources = 0;
    let field = from.get("fieldRef");
    if field.is_set() {
        sources += 1;
        validate_field(&field, FIELDS, errors);
    }
    let resource = from.get("resourceFieldRef");
    if resource.is_set() {
        sources += 1;
        validate_resource(&resource, false, errors);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let reference = from.get(kind);
        if reference.is_set() {
            sources += 1;
            validate_key_reference(&reference, errors);
        }
    }
    let file = from.get("fileKeyRef");
    if file.is_set() {
        sources += 1;
        errors.forbidden(&file.path, "fileKeyRef is not supported by this server");
    }
    if sources == 0 {
        errors.invalid(
            &from.path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        );
    } else if has_value {
        errors.invalid(&from.path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(&from.path, "", SEVERAL);
    }
}

fn validate_key_reference(reference: &At<'_>, errors: &mut ErrorList) {
    let (name, key) = (reference.get("name"), reference.get("key"));
    errors.invalid_each(&name.path, name.text(), names::dns_subdomain(name.text()));
    if key.require(errors, "") {
        key.invalid_each(errors, names::config_map_key(key.text()));
    }
}

/// Checks a reference to a field of the pod.
pub(super) fn validate_field(reference: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    let (version, field) = (reference.get("apiVersion"), reference.get("fieldPath"));
    if !version.require(errors, "") || !field.require(errors, "") {
        return;
    }
    let path = field.text();
    if version.text() != "v1" {
        let text = format!("error converting fieldPath: unsupported pod version: {}", version.text());
        field.invalid(errors, &text);
        return;
    }
    let subscript = path.split_once("['").and_then(|(path, rest)| Some((path, rest.strip_suffix("']")?)));
    if let Some((path, key)) = subscript {
        match path {
            "metadata.annotations" => {
                let key = key.to_lowercase();
                errors.invalid_each(&reference.path, &key, names::qualified_name(&key));
            }
            "metadata.labels" => errors.invalid_each(&reference.path, key, names::qualified_name(key)),
            _ if READABLE.contains(&path) => {
                errors.invalid(&reference.path, path, "does not support subscript");
            }
            _ => not_readable(&field, errors),
        }
    } else if !READABLE.contains(&path) {
        not_readable(&field, errors);
    } else if !supported.contains(&path) {
        errors.not_supported(&field.path, path, supported);
    }
}

fn not_readable(field: &At<'_>, errors: &mut ErrorList) {
    let text = format!("error converting fieldPath: field label not supported: {}", field.text());
    field.invalid(errors, &text);
}

/// Checks a reference to a container's resources; in a volume it must name the container.
pub(super) fn validate_resource(reference: &At<'_>, in_volume: bool, errors: &mut ErrorList) {
    let (container, resource) = (reference.get("containerName"), reference.get("resource"));
    let name = resource.text();
    let huge = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if in_volume && container.is_empty() {
        errors.required(&container.path, "");
    } else if resource.require(errors, "") && !RESOURCES.contains(&name) && !huge {
        errors.not_supported(&resource.path, name, RESOURCES);
    }
    let divisor = reference.get("divisor");
    if matches!(divisor.text(), "" | "0") {
        return;
    }
    let (supported, shown, what): (&[&str], _, _) = match name {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "1m and 1", "cpu"),
        "limits.memory" | "requests.memory" => (MEMORY_DIVISORS, "", "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (MEMORY_DIVISORS, "", "local ephemeral storage")
        }
        _ if huge => (MEMORY_DIVISORS, "", "hugepages"),
        _ => return,
    };
    if !supported.contains(&divisor.text()) {
        let shown = if shown.is_empty() { supported.join(", ") } else { shown.to_owned() };
        let text = format!("only divisor's values {shown} are supported with the {what} resource");
        errors.invalid(&divisor.path, name, &text);
    }
}

pub(super) fn validate_env_from(sources: &At<'_>, errors: &mut ErrorList) {
    for source in sources.items() {
        let prefix = source.get("prefix");
        if !prefix.is_empty() {
            prefix.invalid_each(errors, names::env_var_name(prefix.text()));
        }
        let mut count = 0;
        for kind in ["configMapRef", "secretRef"] {
            let reference = source.get(kind);
            if reference.is_set() {
                count += 1;
                let name = reference.get("name");
                if name.require(errors, "") {
                    name.invalid_each(errors, names::dns_subdomain(name.text()));
                }
            }
        }
        match count {
            0 => errors.invalid(&sources.path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(&sources.path, "", SEVERAL),
        }
    }
}
