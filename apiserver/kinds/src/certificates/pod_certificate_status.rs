//! How the status of a PodCertificateRequest may change: once, to issued, denied or failed. An issued certificate is
//! checked against the request and against what the status says about it.

use super::pem::{Block, blocks};
use super::stub_request;
use crate::formats::validate_conditions;
use mainstay_apiserver_machinery::pipeline::parse_timestamp;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use time::Duration;
use x509_parser::prelude::{GeneralName, X509Certificate};

const ENDS: &[&str] = &["Issued", "Denied", "Failed"];
const CHAIN_BYTES_MAX: usize = 100 * 1024;
const LIFETIME_MIN: Duration = Duration::HOUR;
/// How long a certificate is used before, and kept after, it may be renewed.
const MARGIN: Duration = Duration::minutes(10);

/// Checks an update of the status.
pub(super) fn validate_change(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
    let conditions = status.get("conditions");
    let found = errors.len();
    validate_ends(&conditions, errors);
    validate_conditions(&conditions, errors);
    if errors.len() > found {
        return;
    }
    let is_same = status.value == before.value || (status.is_empty() && before.is_empty());
    if !ended(&before).is_empty() {
        if !is_same {
            let text = "immutable after PodCertificateRequest is issued, denied, or failed";
            errors.invalid_unshown(&status.path, text);
        }
        return;
    }
    match ended(&status).as_slice() {
        [] if !is_same => errors.invalid_unshown(
            &status.path,
            "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"",
        ),
        [] => {}
        ["Issued"] => validate_issued(&status, old, errors),
        _ if status.len() > 1 => errors.invalid_unshown(
            &status.path,
            "non-condition status fields must be empty when denying or failing the PodCertificateRequest",
        ),
        _ => {}
    }
}

/// The ends that a status tells.
fn ended<'a>(status: &At<'a>) -> Vec<&'a str> {
    let conditions =
        status.get("conditions").items().filter(|condition| condition.text_of("status") == "True");
    conditions.map(|condition| condition.text_of("type")).filter(|kind| ENDS.contains(kind)).collect()
}

/// Checks that there is one end at most, and that it is true.
fn validate_ends(conditions: &At<'_>, errors: &mut ErrorList) {
    let mut known = 0;
    for condition in conditions.items() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if !ENDS.contains(&kind.text()) {
            errors.not_supported(&kind.path, kind.text(), ENDS);
            continue;
        }
        known += 1;
        if known > 1 {
            let text = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            kind.invalid(errors, text);
        }
        status.one_of(errors, &["True"]);
    }
}

fn validate_issued(status: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let chain = status.get("certificateChain");
    if chain.text().len() > CHAIN_BYTES_MAX {
        errors.too_long(&chain.path, CHAIN_BYTES_MAX);
        return;
    }
    let all = blocks(chain.text());
    let leaf = match read_leaf(&all) {
        Ok(leaf) => leaf,
        Err(why) => return chain.invalid(errors, why),
    };
    let found = errors.len();
    validate_names(&chain, &leaf, errors);
    let wanted = old.path_str(&["spec", "stubPKCS10Request"]).and_then(stub_request::public_key);
    if wanted.as_deref() != Some(leaf.public_key().raw) {
        return chain.invalid(errors, "leaf certificate was not issued to the requested public key");
    }
    validate_times(status, &leaf, old, errors);
    if errors.len() > found {
        return;
    }
    for block in all.iter().skip(1) {
        if block.label != "CERTIFICATE" {
            let text = "issued certificate chain must consist entirely of CERTFICATE PEM blocks";
            return chain.invalid(errors, text);
        }
        if block.certificate().is_none() {
            return chain.invalid(errors, "intermediate certificate does not parse as valid X.509");
        }
    }
}

fn read_leaf(all: &[Block]) -> Result<X509Certificate<'_>, &'static str> {
    let Some(block) = all.first() else {
        return Err("issued certificate chain must contain at least one certificate");
    };
    if block.label != "CERTIFICATE" {
        return Err("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
    }
    block.certificate().ok_or("leaf certificate does not parse as valid X.509")
}

/// Checks the DNS names of the certificate.
fn validate_names(chain: &At<'_>, leaf: &X509Certificate<'_>, errors: &mut ErrorList) {
    let names = leaf.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        let GeneralName::DNSName(name) = name else { continue };
        let faults = [
            (name.is_empty(), "leaf certificate should not contain empty DNSName"),
            (name.contains(".."), "leaf certificate's DNSName should not contain '..'"),
            (
                name.starts_with('.') || name.ends_with('.'),
                "leaf certificate's DNSName should not start or end with '.'",
            ),
        ];
        for (_, text) in faults.iter().filter(|(is_fault, _)| *is_fault) {
            errors.invalid(&chain.path, *name, text);
        }
    }
}

/// Checks that the status tells the certificate's own times, that it is valid long enough, and when it is renewed.
fn validate_times(status: &At<'_>, leaf: &X509Certificate<'_>, old: &Value, errors: &mut ErrorList) {
    let [from, until, renewal] = ["notBefore", "notAfter", "beginRefreshAt"].map(|field| status.get(field));
    let own = "must be present and consistent with the issued certificate";
    let range = "must be present and in the range [notbefore+10min, notafter-10min]";
    let mut missing = false;
    for (field, text) in [(&from, own), (&until, own), (&renewal, range)] {
        missing |= !field.require(errors, text);
    }
    if missing {
        return;
    }
    let (begins, ends) = (leaf.validity().not_before.to_datetime(), leaf.validity().not_after.to_datetime());
    if parse_timestamp(from.text()) != Some(begins) {
        return from.invalid(errors, "must be set to the NotBefore time encoded in the leaf certificate");
    }
    if parse_timestamp(until.text()) != Some(ends) {
        return until.invalid(errors, "must be set to the NotAfter time encoded in the leaf certificate");
    }
    let (chain, lifetime) = (status.get("certificateChain"), ends - begins);
    let told = format!("{}s", lifetime.whole_seconds());
    if lifetime < LIFETIME_MIN {
        return errors.invalid(&chain.path, told, "leaf certificate lifetime must be >= 1 hour");
    }
    let max = old.path_i64(&["spec", "maxExpirationSeconds"]).unwrap_or_default();
    if lifetime > Duration::seconds(max) {
        let text = format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({max})");
        return errors.invalid(&chain.path, told, &text);
    }
    let renewed = parse_timestamp(renewal.text());
    if renewed.is_none_or(|renewed| renewed < begins + MARGIN) {
        renewal.invalid(errors, "must be at least 10 minutes after status.notBefore");
    } else if renewed.is_some_and(|renewed| renewed > ends - MARGIN) {
        renewal.invalid(errors, "must be at least 10 minutes before status.notAfter");
    }
}
