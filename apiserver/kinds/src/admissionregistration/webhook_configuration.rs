//! admissionregistration.k8s.io/v1 MutatingWebhookConfiguration and ValidatingWebhookConfiguration.

use super::{client_config, conditions, resource_rules};
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;
use time::OffsetDateTime;

/// admissionregistration.k8s.io/v1 MutatingWebhookConfiguration.
pub static MUTATING_WEBHOOK_CONFIGURATION: Kind = Kind {
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    type_name: "admissionregistration.k8s.io/v1.MutatingWebhookConfiguration",
    list_kind: "MutatingWebhookConfigurationList",
    rules: &WebhookConfiguration { mutates: true },
    storage: Some(Storage::new("mutatingwebhookconfigurations")),
    ..REGISTRATION
};

/// admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration.
pub static VALIDATING_WEBHOOK_CONFIGURATION: Kind = Kind {
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    type_name: "admissionregistration.k8s.io/v1.ValidatingWebhookConfiguration",
    list_kind: "ValidatingWebhookConfigurationList",
    rules: &WebhookConfiguration { mutates: false },
    storage: Some(Storage::new("validatingwebhookconfigurations")),
    ..REGISTRATION
};

/// A kind of this group, to be completed.
pub(super) const REGISTRATION: Kind = Kind {
    group: "admissionregistration.k8s.io",
    namespaced: false,
    categories: &["api-extensions"],
    ..STORED
};
/// Versions of AdmissionReview that this server sends.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

struct WebhookConfiguration {
    mutates: bool,
}

impl Rules for WebhookConfiguration {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let mut seen = HashSet::new();
        for webhook in At::root(object).get("webhooks").items() {
            validate_webhook(&webhook, self.mutates, errors);
            let name = webhook.get("name");
            if !name.is_empty() && !seen.insert(name.text()) {
                errors.duplicate(&name.path, name.text());
            }
        }
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        new.get("webhooks") != old.get("webhooks")
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Webhooks", "How many webhooks there are.").of_type("integer"),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        vec![table::name(object), table::count(object, &["webhooks"]), table::age(object, now)]
    }
}

fn validate_webhook(webhook: &At<'_>, mutates: bool, errors: &mut ErrorList) {
    let name = webhook.get("name");
    if name.require(errors, "") {
        let faults = names::dns_subdomain(name.text());
        if !faults.is_empty() {
            name.invalid(errors, &faults.join(","));
        } else if name.text().split('.').count() < 3 {
            name.invalid(errors, "should be a domain with at least three segments separated by dots");
        }
    }
    for rule in webhook.get("rules").items() {
        resource_rules::validate_rule(&rule, errors);
    }
    for (field, all) in [("failurePolicy", ["Fail", "Ignore"]), ("matchPolicy", ["Equivalent", "Exact"])] {
        let field = webhook.get(field);
        if field.is_set() {
            field.one_of(errors, &all);
        }
    }
    let effects = webhook.get("sideEffects");
    if effects.is_set() {
        effects.one_of(errors, &["None", "NoneOnDryRun"]);
    } else {
        errors.required(&effects.path, "must specify one of None, NoneOnDryRun");
    }
    let timeout = webhook.get("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        timeout.invalid(errors, "the timeout value must be between 1 and 30 seconds");
    }
    resource_rules::validate_selectors(webhook, errors);
    if mutates {
        let policy = webhook.get("reinvocationPolicy");
        if policy.is_set() {
            policy.one_of(errors, &["IfNeeded", "Never"]);
        }
    }
    client_config::validate(&webhook.get("clientConfig"), errors);
    conditions::validate(&webhook.get("matchConditions"), false, errors);
    validate_review_versions(&webhook.get("admissionReviewVersions"), errors);
}

fn validate_review_versions(versions: &At<'_>, errors: &mut ErrorList) {
    if !versions.require(errors, &format!("must specify one of {}", REVIEW_VERSIONS.join(", "))) {
        return;
    }
    let mut seen = HashSet::new();
    for version in versions.items() {
        if !seen.insert(version.text()) {
            version.invalid(errors, "duplicate version");
            continue;
        }
        version.invalid_each(errors, names::dns_label_1035(version.text()));
    }
    if !REVIEW_VERSIONS.iter().any(|version| seen.contains(version)) {
        versions.invalid(errors, &format!("must include at least one of {}", REVIEW_VERSIONS.join(", ")));
    }
}
