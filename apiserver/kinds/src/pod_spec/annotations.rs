//! Checks of annotations that mean something to pods: what was said there before there were fields for it must be
//! well-formed, and must not contradict the fields.

use super::mounts::validate_descending;
use super::scheduling::validate_tolerations;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, quote};
use mainstay_apiserver_machinery::value::{Value, to_value};

const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Containers in the order that upstream visits them.
const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Checks the annotations of a pod or of a pod template with this spec.
pub(crate) fn validate_pod_annotations(annotations: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if annotations.is_empty() {
        return;
    }
    if annotations.has(MIRROR) && spec.get("nodeName").is_empty() {
        let text = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&annotations.path.key(MIRROR), annotations.text_of(MIRROR), text);
    }
    validate_old_tolerations(annotations, errors);
    let cost = annotations.text_of(DELETION_COST);
    // Upstream also refuses a leading plus sign and leading zeros.
    let canonical = cost.parse::<i32>().is_ok_and(|number| number.to_string() == cost);
    if annotations.has(DELETION_COST) && !canonical {
        errors.invalid(&annotations.path.key(DELETION_COST), cost, "must be a 32bit integer");
    }
    for (key, profile) in annotations.entries() {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            validate_seccomp(&At::new(profile.value, annotations.path.child(key)), errors);
        } else if let Some(container) = key.strip_prefix(APP_ARMOR) {
            if !containers(spec).any(|known| known.text_of("name") == container) {
                errors.invalid(&profile.path, container, "container not found");
            }
            let text = profile.text();
            if !matches!(text, "" | "runtime/default" | "unconfined") && !text.starts_with("localhost/") {
                profile.invalid(errors, &format!("invalid AppArmor profile name: {}", quote(text)));
            }
        }
    }
}

/// All containers of a pod, of whatever list.
pub(super) fn containers<'a>(spec: &At<'a>) -> impl Iterator<Item = At<'a>> + use<'a> {
    let lists = CONTAINER_LISTS.map(|list| spec.get(list));
    lists.into_iter().flat_map(|list| list.items().collect::<Vec<_>>())
}

fn validate_old_tolerations(annotations: &At<'_>, errors: &mut ErrorList) {
    let text = annotations.text_of(TOLERATIONS);
    if text.is_empty() {
        return;
    }
    let parsed = serde_json::from_str::<serde_json::Value>(text);
    match parsed.map(|parsed| to_value(&parsed)) {
        Ok(Ok(tolerations)) => {
            validate_tolerations(&At::new(&tolerations, annotations.path.child(TOLERATIONS)), errors);
        }
        Ok(Err(error)) => errors.invalid(&annotations.path, TOLERATIONS, &error.to_string()),
        Err(error) => errors.invalid(&annotations.path, TOLERATIONS, &error.to_string()),
    }
}

fn validate_seccomp(profile: &At<'_>, errors: &mut ErrorList) {
    match profile.text() {
        "runtime/default" | "docker/default" | "unconfined" => {}
        text => match text.strip_prefix("localhost/") {
            Some(file) => {
                validate_descending(
                    &At::new(&Value::from(file), profile.path.clone()),
                    &profile.path,
                    errors,
                );
            }
            None => profile.invalid(errors, "must be a valid seccomp profile"),
        },
    }
}

/// Checks that fields about profiles say what annotations say, where both do. Only new pods and templates are held
/// to this.
pub(crate) fn validate_profiles_match(annotations: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if annotations.is_empty() {
        return;
    }
    let pod = spec.get("securityContext");
    if let Some(annotation) = text_at(annotations, SECCOMP_POD) {
        let defaults: &[&str] = &["runtime/default", "docker/default"];
        validate_match(&pod.get("seccompProfile"), annotation, "seccomp", defaults, None, errors);
    }
    for container in containers(spec) {
        let (name, own) = (container.text_of("name"), container.get("securityContext"));
        if let Some(annotation) = text_at(annotations, &format!("{SECCOMP_CONTAINER}{name}")) {
            let defaults: &[&str] = &["runtime/default", "docker/default"];
            validate_match(&own.get("seccompProfile"), annotation, "seccomp", defaults, None, errors);
        }
    }
    if spec.dig(&["os", "name"]).text() == "windows" {
        return;
    }
    for container in containers(spec) {
        let own = container.dig(&["securityContext", "appArmorProfile"]);
        let profile = if own.is_set() { own.clone() } else { pod.get("appArmorProfile") };
        if let Some(annotation) = text_at(annotations, &format!("{APP_ARMOR}{}", container.text_of("name"))) {
            validate_match(&profile, annotation, "apparmor", &["runtime/default"], Some(&own.path), errors);
        }
    }
}

fn text_at<'a>(annotations: &At<'a>, key: &str) -> Option<&'a str> {
    annotations.value.get(key).and_then(Value::as_str)
}

/// Checks a profile against the annotation about it; `shown` is where errors are shown, if not at the profile.
fn validate_match(
    profile: &At<'_>,
    annotation: &str,
    what: &str,
    defaults: &[&str],
    shown: Option<&Path>,
    errors: &mut ErrorList,
) {
    let path = shown.unwrap_or(&profile.path);
    let file = annotation.strip_prefix("localhost/");
    let same_type = match profile.text_of("type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => defaults.contains(&annotation),
        "Localhost" => file.is_some(),
        _ => return,
    };
    if !same_type {
        let text = format!("{what} type in annotation and field must match");
        errors.forbidden(&path.child("type"), &text);
    } else if profile.text_of("type") == "Localhost" && file != Some(profile.text_of("localhostProfile")) {
        let text = format!("{what} profile in annotation and field must match");
        errors.forbidden(&path.child("localhostProfile"), &text);
    }
}

/// Checks what an update changes in annotations that stay for a pod's life.
pub(crate) fn validate_pod_annotations_update(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    let lasting = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        key if key.starts_with(APP_ARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, was) in old.entries() {
        if let Some(what) = lasting(key).filter(|_| new.value.get(key) != Some(was.value)) {
            errors.forbidden(&new.path.key(key), &format!("may not remove or update {what}"));
        }
    }
    for (key, now) in new.entries() {
        if let Some(what) = lasting(key).filter(|_| !old.has(key)) {
            errors.forbidden(&now.path, &format!("may not add {what}"));
        }
    }
}
