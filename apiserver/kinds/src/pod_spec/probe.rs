//! Checks of probes and lifecycle hooks.

use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;

pub(super) fn validate_lifecycle(container: &At<'_>, grace_seconds: Option<i64>, errors: &mut ErrorList) {
    let lifecycle = container.get("lifecycle");
    for hook in ["postStart", "preStop"] {
        let hook = lifecycle.get(hook);
        if hook.is_set() {
            validate_handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace_seconds, errors);
        }
    }
}

pub(super) fn validate_probes(container: &At<'_>, grace_seconds: Option<i64>, errors: &mut ErrorList) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.get(kind);
        if !probe.is_set() {
            continue;
        }
        validate_handler(&probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace_seconds, errors);
        for field in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            probe.get(field).non_negative(errors);
        }
        let grace = probe.get("terminationGracePeriodSeconds");
        if grace.int().is_some_and(|seconds| seconds <= 0) {
            grace.invalid(errors, "must be greater than 0");
        }
        if kind == "readinessProbe" {
            if grace.is_set() {
                grace.invalid(errors, "must not be set for readinessProbes");
            }
        } else if let Some(threshold) =
            probe.get("successThreshold").int().filter(|threshold| *threshold != 1)
        {
            errors.invalid(&probe.path.child("successThreshold"), threshold, "must be 1");
        }
    }
}

fn validate_handler(handler: &At<'_>, kinds: &[&str], grace_seconds: Option<i64>, errors: &mut ErrorList) {
    let mut found = false;
    for kind in kinds {
        let action = handler.get(kind);
        if !action.is_set() {
            continue;
        }
        if found {
            errors.forbidden(&action.path, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" => {
                action.get("command").require(errors, "");
            }
            "httpGet" => validate_http(&action, errors),
            "sleep" => validate_sleep(&action, grace_seconds, errors),
            _ => validate_port(&action.get("port"), errors),
        }
    }
    if !found {
        errors.required(&handler.path, "must specify a handler type");
    }
}

fn validate_sleep(sleep: &At<'_>, grace_seconds: Option<i64>, errors: &mut ErrorList) {
    let seconds = sleep.get("seconds").int().unwrap_or_default();
    let Some(grace) = grace_seconds.filter(|grace| !(0..=*grace).contains(&seconds)) else { return };
    let text = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
    errors.invalid(&sleep.path, seconds, &text);
}

fn validate_http(http: &At<'_>, errors: &mut ErrorList) {
    http.get("path").require(errors, "");
    validate_port(&http.get("port"), errors);
    http.get("scheme").one_of(errors, &["HTTP", "HTTPS"]);
    let headers = http.get("httpHeaders");
    for header in headers.items() {
        let name = header.text_of("name");
        errors.invalid_each(&headers.path, name, names::http_header_name(name));
    }
}

/// Checks a port given by number or by name.
pub(crate) fn validate_port(port: &At<'_>, errors: &mut ErrorList) {
    if let Value::Str(name) = port.value {
        port.invalid_each(errors, names::port_name(name));
        return;
    }
    let number = port.int().unwrap_or_default();
    for fault in names::port_number(number) {
        errors.invalid(&port.path, number, &fault);
    }
}
