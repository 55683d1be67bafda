//! certificates.k8s.io/v1 ClusterTrustBundle.

use super::pem::{Block, blocks};
use super::signer_name::validate_signer_name;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, NameRule, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use std::collections::HashMap;
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
        validate_names(object, errors);
        validate_anchors(&At::root(object).dig(&["spec", "trustBundle"]), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate_names(new, errors);
        let (signer, bundle): (&[&str], &[&str]) = (&["spec", "signerName"], &["spec", "trustBundle"]);
        if new.path(bundle) != old.path(bundle) {
            validate_anchors(&At::root(new).dig(bundle), errors);
        }
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

/// Checks the name, which tells the signer, and the signer.
fn validate_names(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let (name, signer) = (root.dig(&["metadata", "name"]), root.dig(&["spec", "signerName"]));
    if signer.is_empty() {
        if name.text().contains(':') {
            name.invalid(errors, "ClusterTrustBundle without signer name must not have \":\" in its name");
        } else {
            name.invalid_each(errors, names::dns_subdomain(name.text()));
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
}

/// Checks that the bundle is certificates of authorities, each once.
fn validate_anchors(bundle: &At<'_>, errors: &mut ErrorList) {
    if bundle.text().len() > BUNDLE_BYTES_MAX {
        errors.too_long(&bundle.path, BUNDLE_BYTES_MAX);
        return;
    }
    let all = blocks(bundle.text());
    let faults: Vec<String> = all
        .iter()
        .enumerate()
        .filter_map(|(i, block)| Some(format!("entry {i} {}", fault(block)?)))
        .collect();
    for fault in &faults {
        errors.invalid(&bundle.path, "<value omitted>", fault);
    }
    if !faults.is_empty() {
        return;
    }
    if all.is_empty() {
        errors.invalid(&bundle.path, "<value omitted>", "at least one trust anchor must be provided");
    }
    // In the order in which they first occur.
    let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (i, block) in all.iter().enumerate() {
        places.entry(&block.contents).or_default().push(i);
    }
    for (i, block) in all.iter().enumerate() {
        let Some(same) = places.get(block.contents.as_slice()) else { continue };
        if same.len() > 1 && same.first() == Some(&i) {
            let indices: Vec<String> = same.iter().map(usize::to_string).collect();
            let text = format!("duplicate trust anchor (indices [{}])", indices.join(" "));
            errors.invalid(&bundle.path, "<value omitted>", &text);
        }
    }
}

/// What is wrong with an entry of a bundle.
fn fault(block: &Block) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    if block.has_headers {
        return Some("has PEM block headers".into());
    }
    let Some(certificate) = block.certificate() else { return Some("does not parse as X.509".into()) };
    match certificate.basic_constraints() {
        Err(_) => Some("does not parse as X.509".into()),
        Ok(Some(constraints)) if constraints.value.ca => None,
        Ok(_) => Some("does not have the CA bit set".into()),
    }
}
