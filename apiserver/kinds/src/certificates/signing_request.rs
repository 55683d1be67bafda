//! certificates.k8s.io/v1 CertificateSigningRequest. Who asks is stamped by admission.

use super::pem::{check_certificates, check_request};
use super::signer_name::validate_signer_name;
use super::signing_request_update::{preserve_decision, validate_change};
use crate::shape::{Body, PART_VERBS, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, NameRule, Rules, Storage, restore, restore_except};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use std::collections::HashSet;
use time::{Duration, OffsetDateTime};

const BODY: Body = Body {
    group: "certificates.k8s.io",
    version: "v1",
    kind: "CertificateSigningRequest",
    type_name: "certificates.k8s.io/v1.CertificateSigningRequest",
};

/// certificates.k8s.io/v1 CertificateSigningRequest.
pub static CERTIFICATE_SIGNING_REQUEST: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    type_name: "certificates.k8s.io/v1.CertificateSigningRequest",
    list_kind: "CertificateSigningRequestList",
    subresources: &[BODY.part("approval", PART_VERBS), BODY.status()],
    rules: &SigningRequest,
    storage: Some(Storage::new("certificatesigningrequests")),
    ..STORED
};

const LIFETIME_SECONDS_MIN: i64 = 600;
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

struct SigningRequest;

impl Rules for SigningRequest {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        restore(new, old, "spec");
        restore(new, old, "status");
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_request(object, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate_request(new, Some(old), errors);
        validate_change(new, old, false, false, errors);
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_except(new, old, &["apiVersion", "kind", "metadata", "status"]);
        preserve_decision(new, old);
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate_request(new, Some(old), errors);
        validate_change(new, old, false, true, errors);
    }

    fn prepare_subresource(&self, _name: &str, new: &mut Value, old: &Value) -> Result<(), Status> {
        let conditions = new.path(&["status", "conditions"]).cloned();
        restore_except(new, old, &["apiVersion", "kind", "metadata"]);
        match conditions {
            Some(conditions) => new.set_path(&["status", "conditions"], conditions),
            None => drop(new.remove_path(&["status", "conditions"])),
        }
        Ok(())
    }

    fn validate_subresource(&self, _name: &str, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate_request(new, Some(old), errors);
        validate_change(new, old, true, false, errors);
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            table::AGE,
            Column::new("SignerName", "Who is asked to sign."),
            Column::new("Requestor", "Who asks."),
            Column::new("RequestedDuration", "How long the certificate shall be valid."),
            Column::new("Condition", "What became of the request."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let seconds = object.path_i64(&["spec", "expirationSeconds"]);
        let duration = seconds.map_or_else(
            || String::from("<none>"),
            |seconds| table::human_duration(Duration::seconds(seconds)),
        );
        vec![
            table::name(object),
            table::age(object, now),
            table::text_or(object, &["spec", "signerName"], "<none>"),
            table::text_or(object, &["spec", "username"], ""),
            duration.into(),
            state(object).into(),
        ]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        vec![("spec.signerName", object.path_str(&["spec", "signerName"]).unwrap_or_default().into())]
    }
}

fn state(object: &Value) -> String {
    let conditions = object.path_list(&["status", "conditions"]);
    let has = |kind: &str| conditions.iter().any(|one| one.path_str(&["type"]) == Some(kind));
    let mut text = String::from(match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    });
    if has("Failed") {
        text.push_str(",Failed");
    }
    if !object.path_str(&["status", "certificate"]).unwrap_or_default().is_empty() {
        text.push_str(",Issued");
    }
    text
}

fn validate_request(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let root = At::root(object);
    let spec = root.get("spec");
    let request = spec.get("request");
    if let Err(why) = check_request(request.text()) {
        request.invalid(errors, &why);
    }
    let usages = spec.get("usages");
    usages.require(errors, "");
    let mut seen = HashSet::new();
    for usage in usages.items() {
        usage.one_of(errors, USAGES);
        if !seen.insert(usage.text()) {
            errors.duplicate(&usage.path, usage.text());
        }
    }
    let signer = spec.get("signerName");
    if signer.text() == "kubernetes.io/legacy-unknown" {
        signer.invalid(errors, "the legacy signerName is not allowed via this API version");
    } else {
        validate_signer_name(&signer, errors);
    }
    let lifetime = spec.get("expirationSeconds");
    if lifetime.int().is_some_and(|seconds| seconds < LIFETIME_SECONDS_MIN) {
        lifetime.invalid(errors, "may not specify a duration less than 600 seconds (10 minutes)");
    }
    validate_conditions(&root.dig(&["status", "conditions"]), errors);
    let certificate = root.dig(&["status", "certificate"]);
    if old.is_none_or(|old| old.path(&["status", "certificate"]) != Some(certificate.value))
        && let Err(why) = check_certificates(certificate.text())
    {
        errors.invalid(&certificate.path, "<certificate data>", &why);
    }
}

fn validate_conditions(conditions: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for condition in conditions.items() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        kind.require(errors, "");
        let final_one = matches!(kind.text(), "Approved" | "Denied" | "Failed");
        if status.require(errors, "") {
            status.one_of(errors, if final_one { &["True"] } else { &["False", "True", "Unknown"] });
        }
        let contrary = match kind.text() {
            "Approved" => seen.contains("Denied"),
            "Denied" => seen.contains("Approved"),
            _ => false,
        };
        if contrary {
            let text = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(&conditions.path, kind.text(), text);
        }
        if !seen.insert(kind.text()) {
            errors.duplicate(&kind.path, kind.text());
        }
    }
}
