//! certificates.k8s.io/v1 ClusterTrustBundle.

use super::pem::check_certificate_text;
use super::signer_name::validate_signer_name;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, NameRule, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use time::OffsetDateTime;

/// Bytes of a bundle.
const BUNDLE_BYTES_MAX: usize = 1024 * 1024;

/// certificates.k8s.io/v1 ClusterTrustBundle.
pub static CLUSTER_TRUST_BUNDLE: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "ClusterTrustBundle",
    plural: "clustertrustbundles",
    singular: "clustertrustbundle",
    namespaced: false,
    type_name: "certificates.k8s.io/v1.ClusterTrustBundle",
    list_kind: "ClusterTrustBundleList",
    rules: &ClusterTrustBundle,
    storage: Some(Storage::new("clustertrustbundles")),
    ..STORED
};

struct ClusterTrustBundle;

impl Rules for ClusterTrustBundle {
    // The rule depends on the signer, which `validate` looks at.
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (name, signer) = (root.dig(&["metadata", "name"]), root.dig(&["spec", "signerName"]));
        if signer.is_empty() {
            name.invalid_each(errors, names::dns_subdomain(name.text()));
            if name.text().contains(':') {
                name.invalid(
                    errors,
                    "ClusterTrustBundle without signer name must not have \":\" in its name",
                );
            }
        } else {
            let prefix = format!("{}:", signer.text().replace('/', ":"));
            match name.text().strip_prefix(&prefix) {
                Some(rest) => name.invalid_each(errors, names::dns_subdomain(rest)),
                None => name.invalid(
                    errors,
                    &format!(
                        "ClusterTrustBundle for signerName {} must be named with prefix {prefix}",
                        signer.text()
                    ),
                ),
            }
            validate_signer_name(&signer, errors);
        }
        let bundle = root.dig(&["spec", "trustBundle"]);
        if bundle.text().len() > BUNDLE_BYTES_MAX {
            errors.too_long(&bundle.path, BUNDLE_BYTES_MAX);
        } else if let Err(why) = check_certificate_text(bundle.text().as_bytes()) {
            errors.invalid(&bundle.path, "<value omitted>", &why);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        let signer: &[&str] = &["spec", "signerName"];
        At::root(new).dig(signer).unchanged(errors, &At::root(old).dig(signer));
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[Column::object_name(), Column::new("SignerName", "Whose certificates the bundle verifies.")];
        COLUMNS
    }

    fn row(&self, object: &Value, _now: OffsetDateTime) -> Vec<Value> {
        vec![table::name(object), table::text_or(object, &["spec", "signerName"], "<none>")]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        vec![("spec.signerName", object.path_str(&["spec", "signerName"]).unwrap_or_default().into())]
    }
}
