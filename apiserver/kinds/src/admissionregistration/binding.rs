//! admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding.

use super::resource_rules;
use super::webhook_configuration::REGISTRATION;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_label_selector};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;
use time::OffsetDateTime;

/// admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding.
pub static VALIDATING_ADMISSION_POLICY_BINDING: Kind = Kind {
    kind: "ValidatingAdmissionPolicyBinding",
    plural: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    type_name: "admissionregistration.k8s.io/v1.ValidatingAdmissionPolicyBinding",
    list_kind: "ValidatingAdmissionPolicyBindingList",
    rules: &Binding { mutates: false },
    storage: Some(Storage::new("validatingadmissionpolicybindings")),
    ..REGISTRATION
};

/// admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding.
pub static MUTATING_ADMISSION_POLICY_BINDING: Kind = Kind {
    kind: "MutatingAdmissionPolicyBinding",
    plural: "mutatingadmissionpolicybindings",
    singular: "mutatingadmissionpolicybinding",
    type_name: "admissionregistration.k8s.io/v1.MutatingAdmissionPolicyBinding",
    list_kind: "MutatingAdmissionPolicyBindingList",
    rules: &Binding { mutates: true },
    storage: Some(Storage::new("mutatingadmissionpolicybindings")),
    ..REGISTRATION
};

struct Binding {
    mutates: bool,
}

impl Rules for Binding {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let policy = spec.get("policyName");
        if policy.require(errors, "") {
            policy.invalid_each(errors, names::dns_subdomain(policy.text()));
        }
        let parameters = spec.get("paramRef");
        if parameters.is_set() {
            validate_parameters(&parameters, errors);
        }
        let matching = spec.get("matchResources");
        if matching.is_set() {
            resource_rules::validate_match(&matching, errors);
            if self.mutates {
                resource_rules::validate_mutable(&matching, errors);
            }
        }
        if !self.mutates {
            validate_actions(&spec.get("validationActions"), errors);
        }
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("PolicyName", "The policy that applies."),
            Column::new("ParamRef", "The policy's settings."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let text = |field: &str| object.path_str(&["spec", "paramRef", field]).unwrap_or_default();
        let parameters = match (object.path(&["spec", "paramRef"]), text("namespace"), text("name")) {
            (None, _, _) => String::from("<unset>"),
            (Some(_), "", "") => String::from("*"),
            (Some(_), "", name) => name.to_owned(),
            (Some(_), namespace, "") => format!("{namespace}/*"),
            (Some(_), namespace, name) => format!("{namespace}/{name}"),
        };
        vec![
            table::name(object),
            table::text_or(object, &["spec", "policyName"], ""),
            parameters.into(),
            table::age(object, now),
        ]
    }
}

fn validate_parameters(parameters: &At<'_>, errors: &mut ErrorList) {
    let (name, selector) = (parameters.get("name"), parameters.get("selector"));
    if !name.is_empty() {
        name.invalid_each(errors, names::path_segment(name.text()));
        if selector.is_set() {
            errors.forbidden(&name.path, "name and selector are mutually exclusive");
        }
    }
    if selector.is_set() {
        validate_label_selector(selector.value, true, &selector.path, errors);
        if !name.is_empty() {
            errors.forbidden(&selector.path, "name and selector are mutually exclusive");
        }
    }
    if name.is_empty() && !selector.is_set() {
        errors.required(&parameters.path, "one of name or selector must be specified");
    }
    let missing = parameters.get("parameterNotFoundAction");
    if missing.require(errors, "") {
        missing.one_of(errors, &["Deny", "Allow"]);
    }
}

fn validate_actions(actions: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for action in actions.items() {
        action.one_of(errors, &["Audit", "Deny", "Warn"]);
        if !seen.insert(action.text()) {
            errors.duplicate(&action.path, action.text());
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        actions.invalid(errors, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)");
    }
    actions.require(errors, "at least one validation action is required");
}
