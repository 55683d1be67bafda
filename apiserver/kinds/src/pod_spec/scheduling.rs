//! Checks of tolerations, scheduling gates and topology spread constraints.

use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, names, validate_label_selector};
use std::collections::HashSet;

pub(super) fn validate_scheduling(spec: &At<'_>, errors: &mut ErrorList) {
    validate_tolerations(&spec.get("tolerations"), errors);
    validate_gates(&spec.get("schedulingGates"), errors);
    validate_spread(&spec.get("topologySpreadConstraints"), errors);
}

/// Checks tolerations.
pub(crate) fn validate_tolerations(tolerations: &At<'_>, errors: &mut ErrorList) {
    for toleration in tolerations.items() {
        let key = toleration.get("key");
        let (operator, value) = (toleration.get("operator"), toleration.get("value"));
        let effect = toleration.get("effect");
        if key.is_empty() {
            if operator.text() != "Exists" {
                errors.invalid(
                    &operator.path,
                    operator.text(),
                    "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                );
            }
        } else {
            key.invalid_each(errors, names::qualified_name(key.text()));
        }
        if toleration.has("tolerationSeconds") && effect.text() != "NoExecute" {
            errors.invalid(
                &effect.path,
                effect.text(),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match operator.text() {
            "" | "Equal" => {
                let faults = names::label_value(value.text());
                if !faults.is_empty() {
                    errors.invalid(&operator.path, value.text(), &faults.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(
                    &operator.path,
                    value.text(),
                    "value must be empty when `operator` is 'Exists'",
                );
            }
            "Exists" => {}
            other => errors.not_supported(&operator.path, other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            effect.one_of(errors, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

fn validate_gates(gates: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for gate in gates.items() {
        let name = gate.text_of("name");
        errors.invalid_each(&gate.path, name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&gate.path, name);
        }
    }
}

fn validate_spread(constraints: &At<'_>, errors: &mut ErrorList) {
    let all: Vec<At<'_>> = constraints.items().collect();
    for (i, constraint) in all.iter().enumerate() {
        let skew = constraint.get("maxSkew");
        let value = skew.int().unwrap_or_default();
        if value <= 0 {
            errors.invalid(&skew.path, value, "must be greater than zero");
        }
        let topology = constraint.get("topologyKey");
        if topology.is_empty() {
            errors.required(&topology.path, "can not be empty");
        }
        let unsatisfiable = constraint.get("whenUnsatisfiable");
        unsatisfiable.one_of(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        let equal = |later: &At<'_>| {
            let fields = ["topologyKey", "whenUnsatisfiable"];
            fields.iter().all(|field| later.text_of(field) == constraint.text_of(field))
        };
        // Of two that are equal upstream reports the first.
        if all.iter().skip(i + 1).any(equal) {
            errors.duplicate(
                &constraint.path.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{}, {}}}", topology.text(), unsatisfiable.text()),
            );
        }
        validate_domains(constraint, unsatisfiable.text(), errors);
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = constraint.get(field);
            if policy.is_set() {
                policy.one_of(errors, &["Honor", "Ignore"]);
            }
        }
        let keys = constraint.get("matchLabelKeys");
        let selector = constraint.get("labelSelector");
        if !keys.is_empty() && !selector.is_set() {
            errors.forbidden(&keys.path, "must not be specified when labelSelector is not set");
        }
        for key in keys.items() {
            key.invalid_each(errors, names::qualified_name(key.text()));
        }
        validate_keys_once(&keys, &selector, &keys.path, errors);
        validate_label_selector(selector.value, true, &selector.path, errors);
    }
}

fn validate_domains(constraint: &At<'_>, unsatisfiable: &str, errors: &mut ErrorList) {
    let domains = constraint.get("minDomains");
    let Some(value) = domains.int() else { return };
    if value <= 0 {
        domains.invalid(errors, "must be greater than zero");
    }
    if unsatisfiable != "DoNotSchedule" {
        let text = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {unsatisfiable}");
        domains.invalid(errors, &text);
    }
}

/// Reports keys of labels to match by that the selector names as well. One requirement for each key is what the
/// server adds itself.
pub(super) fn validate_keys_once(keys: &At<'_>, selector: &At<'_>, shown: &Path, errors: &mut ErrorList) {
    let labels = selector.get("matchLabels");
    let mut seen: HashSet<&str> = labels.entries().map(|(key, _)| key).collect();
    for expression in selector.get("matchExpressions").items() {
        let key = expression.text_of("key");
        let position = keys.items().position(|known| known.text() == key);
        if let Some(i) = position.filter(|_| seen.contains(key)) {
            errors.invalid(&shown.index(i), key, "exists in both matchLabelKeys and labelSelector");
        }
        seen.insert(key);
    }
}
