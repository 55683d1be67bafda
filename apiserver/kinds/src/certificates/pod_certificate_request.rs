//! certificates.k8s.io/v1 PodCertificateRequest: a node asks for a certificate of one of its pods. When conditions came,
//! and that a certificate begins now, is admission in the server, which has the time.

use super::pod_certificate_status::validate_change;
use super::signer_name::validate_signer_name;
use super::stub_request;
use crate::shape::{Body, STORED};
use crate::status_update::restore_all_but_status;
use mainstay_apiserver_machinery::kind::{Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{ANNOTATIONS_BYTES_MAX, At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

/// Bounds of a certificate's lifetime, in seconds; the last is for the signers of Kubernetes itself.
const LIFETIME_SECONDS_MIN: i64 = 3600;
const LIFETIME_SECONDS_MAX: i64 = 91 * 24 * 3600;
const KUBERNETES_LIFETIME_SECONDS_MAX: i64 = 24 * 3600;
const UID_BYTES_MAX: usize = 128;

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
        validate_annotations(&spec.get("unverifiedUserAnnotations"), errors);
        for (name, uid) in
            [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")]
        {
            let (name, uid) = (spec.get(name), spec.get(uid));
            errors.invalid_each(&name.path, name.text(), names::dns_subdomain(name.text()));
            if uid.text().is_empty() {
                errors.invalid(&uid.path, "", "must not be empty");
            }
            if uid.text().len() > UID_BYTES_MAX {
                errors.too_long(&uid.path, UID_BYTES_MAX);
            }
        }
        if validate_lifetime(&spec, errors) {
            stub_request::validate(&spec.get("stubPKCS10Request"), errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        At::root(new).get("spec").unchanged(errors, &At::root(old).get("spec"));
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_all_but_status(new, old);
        // A decision stays as it was made.
        let before = old.path_list(&["status", "conditions"]);
        let conditions = new.path_mut(&["status", "conditions"]).and_then(Value::as_list_mut);
        for condition in conditions.into_iter().flatten() {
            if let Some(stored) = before.iter().find(|stored| stored.get("type") == condition.get("type")) {
                *condition = stored.clone();
            }
        }
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate_change(new, old, errors);
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

/// Checks the lifetime that is asked for; answers whether there is one.
fn validate_lifetime(spec: &At<'_>, errors: &mut ErrorList) -> bool {
    let lifetime = spec.get("maxExpirationSeconds");
    let Some(seconds) = lifetime.int() else {
        errors.required(&lifetime.path, "must be set");
        return false;
    };
    let domain = spec.text_of("signerName").split('/').next().unwrap_or_default();
    let is_own = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    let max = if is_own { KUBERNETES_LIFETIME_SECONDS_MAX } else { LIFETIME_SECONDS_MAX };
    if !(LIFETIME_SECONDS_MIN..=max).contains(&seconds) {
        lifetime.invalid(errors, &format!("must be in the range [{LIFETIME_SECONDS_MIN}, {max}]"));
    }
    true
}

/// Checks what the pod's author tells the signer: like annotations, with a domain before each key.
fn validate_annotations(annotations: &At<'_>, errors: &mut ErrorList) {
    let mut bytes = 0;
    for (key, value) in annotations.entries() {
        bytes += key.len() + value.text().len();
        let lower = key.to_lowercase();
        let faults = names::qualified_name(&lower);
        if faults.is_empty() && !lower.contains('/') {
            let text = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.invalid(&annotations.path, lower, text);
        } else {
            errors.invalid_each(&annotations.path, &lower, faults);
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(&annotations.path, ANNOTATIONS_BYTES_MAX);
    }
}
