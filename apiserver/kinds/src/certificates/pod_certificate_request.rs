//! certificates.k8s.io/v1 PodCertificateRequest: a node asks for a certificate of one of its pods.

use super::pem::check_certificate_text;
use super::signer_name::validate_signer_name;
use crate::formats::validate_conditions;
use crate::shape::{Body, STORED};
use mainstay_apiserver_machinery::kind::{Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

/// Bounds of a certificate's lifetime, in seconds.
const LIFETIME_SECONDS_MIN: i64 = 3600;
const LIFETIME_SECONDS_MAX: i64 = 91 * 24 * 3600;

/// certificates.k8s.io/v1 PodCertificateRequest.
pub static POD_CERTIFICATE_REQUEST: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "PodCertificateRequest",
    plural: "podcertificaterequests",
    singular: "podcertificaterequest",
    type_name: "certificates.k8s.io/v1.PodCertificateRequest",
    list_kind: "PodCertificateRequestList",
    subresources: &[Body {
        group: "certificates.k8s.io",
        version: "v1",
        kind: "PodCertificateRequest",
        type_name: "certificates.k8s.io/v1.PodCertificateRequest",
    }
    .status()],
    rules: &PodCertificateRequest,
    storage: Some(Storage::new("podcertificaterequests")),
    ..STORED
};

const FIELDS: &[&str] = &["spec.nodeName", "spec.podName", "spec.serviceAccountName", "spec.signerName"];

struct PodCertificateRequest;

impl Rules for PodCertificateRequest {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        validate_signer_name(&spec.get("signerName"), errors);
        for field in ["podName", "serviceAccountName", "nodeName"] {
            let field = spec.get(field);
            errors.invalid_each(&field.path, field.text(), names::dns_subdomain(field.text()));
        }
        for field in ["podUID", "serviceAccountUID", "nodeUID"] {
            let uid = spec.get(field);
            if uid.is_empty() {
                errors.required(&uid.path, "must not be empty");
            } else if uid.text().len() > 128 {
                errors.too_long(&uid.path, 128);
            }
        }
        let lifetime = spec.get("maxExpirationSeconds");
        match lifetime.int() {
            None => errors.required(&lifetime.path, "must be set"),
            Some(seconds) if seconds < LIFETIME_SECONDS_MIN => {
                lifetime.invalid(
                    errors,
                    &format!("must be in the range [{LIFETIME_SECONDS_MIN}, {LIFETIME_SECONDS_MAX}]"),
                );
            }
            Some(seconds) if seconds > LIFETIME_SECONDS_MAX => {
                lifetime.invalid(
                    errors,
                    &format!("must be in the range [{LIFETIME_SECONDS_MIN}, {LIFETIME_SECONDS_MAX}]"),
                );
            }
            Some(_) => {}
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        At::root(new).get("spec").unchanged(errors, &At::root(old).get("spec"));
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
        let ended = before
            .get("conditions")
            .items()
            .any(|condition| matches!(condition.text_of("type"), "Issued" | "Denied" | "Failed"));
        if ended && status.value != before.value {
            errors.invalid_unshown(
                &status.path,
                "immutable after PodCertificateRequest is issued, denied, or failed",
            );
            return;
        }
        validate_conditions(&status.get("conditions"), errors);
        let chain = status.get("certificateChain");
        if !chain.is_empty()
            && let Err(why) = check_certificate_text(chain.text().as_bytes())
        {
            errors.invalid(&chain.path, "<value omitted>", &why);
        }
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        FIELDS
    }

    fn indexed_fields(&self) -> &'static [&'static str] {
        &["spec.nodeName"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        let value = |field: &'static str| {
            let path: Vec<&str> = field.split('.').collect();
            (field, SmolStr::new(object.path_str(&path).unwrap_or_default()))
        };
        FIELDS.iter().copied().map(value).collect()
    }
}
