//! admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy and MutatingAdmissionPolicy.

use super::conditions;
use super::expressions::{AdmissionNames, Expressions};
use super::resource_rules;
use super::webhook_configuration::REGISTRATION;
use crate::formats::validate_conditions;
use crate::shape::Body;
use crate::status_update::restore_all_but_status;
use crate::table;
use mainstay_apiserver_cel::{Type, is_reserved};
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use std::collections::HashSet;
use time::OffsetDateTime;

const ANNOTATIONS_MAX: usize = 20;
const VALUE_BYTES_MAX: usize = 5 * 1024;
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];

/// admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy.
pub static VALIDATING_ADMISSION_POLICY: Kind = Kind {
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    type_name: "admissionregistration.k8s.io/v1.ValidatingAdmissionPolicy",
    list_kind: "ValidatingAdmissionPolicyList",
    subresources: &[Body {
        group: "admissionregistration.k8s.io",
        version: "v1",
        kind: "ValidatingAdmissionPolicy",
        type_name: "admissionregistration.k8s.io/v1.ValidatingAdmissionPolicy",
    }
    .status()],
    rules: &Policy { mutates: false },
    storage: Some(Storage::new("validatingadmissionpolicies")),
    ..REGISTRATION
};

/// admissionregistration.k8s.io/v1 MutatingAdmissionPolicy.
pub static MUTATING_ADMISSION_POLICY: Kind = Kind {
    kind: "MutatingAdmissionPolicy",
    plural: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    type_name: "admissionregistration.k8s.io/v1.MutatingAdmissionPolicy",
    list_kind: "MutatingAdmissionPolicyList",
    rules: &Policy { mutates: true },
    storage: Some(Storage::new("mutatingadmissionpolicies")),
    ..REGISTRATION
};

struct Policy {
    mutates: bool,
}

impl Rules for Policy {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let failure = spec.get("failurePolicy");
        if failure.is_set() {
            failure.one_of(errors, &["Fail", "Ignore"]);
        } else {
            errors.required(&failure.path, "");
        }
        let kind = spec.get("paramKind");
        if kind.is_set() {
            validate_param_kind(&kind, errors);
        }
        let constraints = spec.get("matchConstraints");
        if constraints.is_set() {
            resource_rules::validate_match(&constraints, errors);
            constraints.get("resourceRules").require(errors, "");
            if self.mutates {
                resource_rules::validate_mutable(&constraints, errors);
            }
        } else {
            errors.required(&constraints.path, "");
        }
        conditions::validate(&spec.get("matchConditions"), kind.is_set(), errors);
        let names = AdmissionNames { params: kind.is_set(), authorizer: true, variables: true };
        let expressions = Expressions::new(names);
        let expressions = if self.mutates { expressions.making_objects() } else { expressions };
        let variables = validate_variables(&spec.get("variables"), &expressions, errors);
        let expressions = expressions.with_variables(variables.clone());
        if self.mutates {
            validate_mutations(&spec, &expressions, errors);
        } else {
            let messages = Expressions::new(AdmissionNames { authorizer: false, ..names });
            let name = Meta(object).name();
            validate_validations(&spec, name, (&expressions, &messages.with_variables(variables)), errors);
        }
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_all_but_status(new, old);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        for warning in status.dig(&["typeChecking", "expressionWarnings"]).items() {
            warning.get("warning").require(errors, "");
            let field = warning.get("fieldRef");
            if field.text().trim().is_empty() {
                errors.required(&field.path, "");
            }
        }
        validate_conditions(&status.get("conditions"), errors);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const VALIDATING: &[Column] = &[
            Column::object_name(),
            Column::new("Validations", "How many checks there are.").of_type("integer"),
            Column::new("ParamKind", "Kind of the policy's settings."),
            table::AGE,
        ];
        const MUTATING: &[Column] = &[
            Column::object_name(),
            Column::new("Mutations", "How many changes there are.").of_type("integer"),
            Column::new("ParamKind", "Kind of the policy's settings."),
            table::AGE,
        ];
        if self.mutates { MUTATING } else { VALIDATING }
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let text = |field: &str| object.path_str(&["spec", "paramKind", field]).unwrap_or_default();
        let parameters = if object.path(&["spec", "paramKind"]).is_some() {
            format!("{}/{}", text("apiVersion"), text("kind"))
        } else {
            String::from("<unset>")
        };
        let list = if self.mutates { "mutations" } else { "validations" };
        vec![
            table::name(object),
            table::count(object, &["spec", list]),
            parameters.into(),
            table::age(object, now),
        ]
    }
}

fn validate_param_kind(param: &At<'_>, errors: &mut ErrorList) {
    let (api_version, kind) = (param.get("apiVersion"), param.get("kind"));
    if api_version.require(errors, "") {
        validate_group_version(&api_version, errors);
    }
    if kind.require(errors, "") {
        let faults = names::dns_label_1035(&kind.text().to_lowercase());
        if !faults.is_empty() {
            let text = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
            kind.invalid(errors, &text);
        }
    }
}

fn validate_group_version(field: &At<'_>, errors: &mut ErrorList) {
    let text = field.text();
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    if version.contains('/') {
        return field.invalid(errors, &format!("unexpected GroupVersion string: {text}"));
    }
    let faults = if group.is_empty() { Vec::new() } else { names::dns_subdomain(group) };
    if !faults.is_empty() {
        errors.invalid(&field.path, group, &faults.join(","));
    }
    let faults = names::dns_label_1035(version);
    if version.is_empty() {
        field.invalid(errors, "version must be specified");
    } else if !faults.is_empty() {
        errors.invalid(&field.path, version, &faults.join(","));
    }
}

/// Whether a name can stand in an expression.
fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !is_reserved(name)
}

/// Checks the variables, each of which may use those before it; answers their types.
fn validate_variables(
    variables: &At<'_>,
    expressions: &Expressions,
    errors: &mut ErrorList,
) -> Vec<(SmolStr, Type)> {
    let mut types: Vec<(SmolStr, Type)> = Vec::new();
    for variable in variables.items() {
        let name = variable.get("name");
        if name.text().trim().is_empty() {
            errors.required(&name.path, "name is not specified");
        } else if !is_identifier(name.text()) {
            name.invalid(errors, "name is not a valid CEL identifier");
        }
        let (expression, expressions) =
            (variable.get("expression"), expressions.with_variables(types.clone()));
        if expression.text().trim().is_empty() {
            errors.required(&expression.path, "expression is not specified");
        } else {
            expressions.check(&expression, &[], errors);
        }
        types.push((name.text().into(), expressions.type_of(&expression)));
    }
    types
}

fn validate_validations(
    spec: &At<'_>,
    name: &str,
    (expressions, messages): (&Expressions, &Expressions),
    errors: &mut ErrorList,
) {
    let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for list in [&validations, &annotations] {
            let text = "validations or auditAnnotations must contain at least one item";
            errors.required(&list.path, text);
        }
        return;
    }
    for validation in validations.items() {
        let expression = validation.get("expression");
        if expression.text().trim().is_empty() {
            errors.required(&expression.path, "expression is not specified");
        } else {
            expressions.check(&expression, &[Type::Bool], errors);
        }
        let (message, computed) = (validation.get("message"), validation.get("messageExpression"));
        if !computed.is_empty() && computed.text().trim().is_empty() {
            computed.invalid(errors, "must be non-empty if specified");
        } else if !computed.is_empty() {
            messages.check(&computed, &[Type::Str], errors);
        }
        if !message.is_empty() && message.text().trim().is_empty() {
            message.invalid(errors, "message must be non-empty if specified");
        } else if message.text().trim().contains(['\n', '\r']) {
            message.invalid(errors, "message must not contain line breaks");
        }
        let reason = validation.get("reason");
        if reason.is_set() {
            reason.one_of(errors, REASONS);
        }
    }
    validate_annotations(&annotations, name, expressions, errors);
}

fn validate_annotations(annotations: &At<'_>, name: &str, expressions: &Expressions, errors: &mut ErrorList) {
    if annotations.len() > ANNOTATIONS_MAX {
        let text = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        annotations.invalid(errors, &text);
    }
    let mut seen = HashSet::new();
    for annotation in annotations.items() {
        let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
        let whole = format!("{name}/{}", key.text());
        errors.invalid_each(&key.path, &whole, names::qualified_name(&whole));
        let length = value.text().trim().len();
        if length == 0 {
            errors.required(&value.path, "valueExpression is not specified");
        } else if length > VALUE_BYTES_MAX {
            errors.required(&value.path, &format!("must not exceed {VALUE_BYTES_MAX} bytes in length"));
        } else {
            expressions.check(&value, &[Type::Str, Type::Null], errors);
        }
        if !seen.insert(key.text()) {
            errors.duplicate(&key.path, key.text());
        }
    }
}

fn validate_mutations(spec: &At<'_>, expressions: &Expressions, errors: &mut ErrorList) {
    let mutations = spec.get("mutations");
    mutations.require(errors, "mutations must contain at least one item");
    for mutation in mutations.items() {
        let kind = mutation.get("patchType");
        let (part, other, wanted) = match kind.text() {
            "JSONPatch" => ("jsonPatch", "applyConfiguration", Type::list(Type::Made("JSONPatch".into()))),
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Type::Made("Object".into())),
            "" => {
                errors.required(&kind.path, "");
                continue;
            }
            other => {
                errors.not_supported(&kind.path, other, &["ApplyConfiguration", "JSONPatch"]);
                continue;
            }
        };
        let body = mutation.get(part);
        if body.is_set() {
            expressions.check(&body.get("expression"), &[wanted], errors);
        } else {
            errors.required(&body.path, &format!("must be specified when patchType is {}", kind.text()));
        }
        let second = mutation.get(other);
        if second.is_set() {
            let text = format!("must not be specified when patchType is {}", kind.text());
            errors.invalid(&second.path, format!("{{{other}}}"), &text);
        }
    }
    let policy = spec.get("reinvocationPolicy");
    if policy.is_set() {
        policy.one_of(errors, &["IfNeeded", "Never"]);
    } else {
        errors.required(&policy.path, "");
    }
}
