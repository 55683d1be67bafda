//! core/v1 ResourceQuota. What it does to other objects is admission.

use crate::amount::{quantity, validate_quantity};
use crate::resource_names::{COMPUTE, COUNTS};
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, FIELD_IS_IMMUTABLE, names};
use mainstay_apiserver_machinery::value::{Map, Value};
use std::collections::BTreeSet;
use time::OffsetDateTime;

/// core/v1 ResourceQuota.
pub static RESOURCE_QUOTA: Kind = Kind {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    type_name: "core/v1.ResourceQuota",
    list_kind: "ResourceQuotaList",
    subresources: &[Body::core("ResourceQuota", "core/v1.ResourceQuota").status()],
    rules: &ResourceQuota,
    storage: Some(Storage::new("resourcequotas")),
    ..STORED
};

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const CONFLICTS: &[[&str; 2]] = &[["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

struct ResourceQuota;

impl Rules for ResourceQuota {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let hard = spec.get("hard");
        validate_amounts(&hard, errors);
        let names: Vec<&str> = hard.entries().map(|(name, _)| name).collect();
        validate_scopes(&spec.get("scopes"), &names, errors);
        let selector = spec.get("scopeSelector");
        if selector.is_set() {
            validate_selector(&selector, &names, errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        let scopes = |object| -> BTreeSet<&str> {
            At::root(object).dig(&["spec", "scopes"]).items().map(|scope| scope.text()).collect()
        };
        if scopes(new) != scopes(old) {
            At::root(new).dig(&["spec", "scopes"]).invalid(errors, FIELD_IS_IMMUTABLE);
        }
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        for field in ["hard", "used"] {
            validate_amounts(&status.get(field), errors);
        }
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Request", "What is taken of what may be."),
            Column::new("Limit", "What is taken of what may be, of limits."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let amount = |field: &str, name: &str| object.path_str(&["status", field, name]).unwrap_or("0");
        for name in object.path_map(&["status", "hard"]).into_iter().flat_map(Map::keys) {
            let text = format!("{name}: {}/{}", amount("used", name), amount("hard", name));
            if name.starts_with("limits") { limits.push(text) } else { requests.push(text) }
        }
        vec![
            table::name(object),
            requests.join(", ").into(),
            limits.join(", ").into(),
            table::age(object, now),
        ]
    }
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

fn validate_amounts(amounts: &At<'_>, errors: &mut ErrorList) {
    for (name, amount) in amounts.entries() {
        errors.invalid_each(&amount.path, name, names::qualified_name(name));
        let standard =
            COMPUTE.contains(&name) || COUNTS.contains(&name) || name == "requests.storage" || is_huge(name);
        if !name.contains('/') && !standard {
            if name != "storage" {
                errors.invalid(&amount.path, name, "must be a standard resource type or fully qualified");
            }
            errors.invalid(&amount.path, name, "must be a standard resource for quota");
        }
        validate_quantity(&amount, errors);
        let whole = COUNTS.contains(&name) || (name.contains('/') && !name.contains("kubernetes.io/"));
        if whole && quantity(&amount).is_some_and(|amount| !amount.is_whole()) {
            amount.invalid(errors, "must be an integer");
        }
    }
}

/// Whether a resource that the server counts itself can be counted in a scope.
fn fits(scope: &str, name: &str) -> bool {
    if !COMPUTE.contains(&name) && !COUNTS.contains(&name) && name != "requests.storage" && !is_huge(name) {
        return true;
    }
    match scope {
        "BestEffort" => name == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => name == "pods" || COMPUTE.contains(&name),
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn validate_scopes(scopes: &At<'_>, resources: &[&str], errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for scope in scopes.items() {
        if !SCOPES.contains(&scope.text()) {
            scopes.invalid(errors, "unsupported scope");
        }
        if resources.iter().any(|name| !fits(scope.text(), name)) {
            scopes.invalid(errors, "unsupported scope applied to resource");
        }
        seen.insert(scope.text());
    }
    validate_conflicts(scopes, &seen, errors);
}

fn validate_conflicts(at: &At<'_>, seen: &BTreeSet<&str>, errors: &mut ErrorList) {
    if CONFLICTS.iter().any(|pair| pair.iter().all(|scope| seen.contains(scope))) {
        at.invalid(errors, "conflicting scopes");
    }
}

fn validate_selector(selector: &At<'_>, resources: &[&str], errors: &mut ErrorList) {
    let list = selector.get("matchExpressions");
    let mut seen = BTreeSet::new();
    // Upstream shows these at the list, not at its items.
    for requirement in list.items() {
        let (scope, operator) = (requirement.text_of("scopeName"), requirement.text_of("operator"));
        if !SCOPES.contains(&scope) {
            errors.invalid(&list.path.child("scopeName"), scope, "unsupported scope");
        }
        if resources.iter().any(|name| !fits(scope, name)) {
            errors.invalid(&list.path, selector.value.clone(), "unsupported scope applied to resource");
        }
        let by_presence =
            !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && SCOPES.contains(&scope);
        if by_presence && operator != "Exists" {
            let text = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                        ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                        ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&list.path.child("operator"), operator, text);
        }
        let values = requirement.get("values");
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                &list.path.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                &list.path.child("values"),
                values.value.clone(),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&list.path.child("operator"), other, "not a valid selector operator"),
        }
        seen.insert(scope);
    }
    validate_conflicts(&list, &seen, errors);
}
