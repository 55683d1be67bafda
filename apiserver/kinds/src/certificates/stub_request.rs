//! The request in a PodCertificateRequest: DER, signed by the key that the certificate shall be for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const BYTES_MAX: usize = 10 * 1024;
const RSA_BITS: [usize; 2] = [3072, 4096];
/// P256, P384, P521.
const CURVES: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];
const ED25519: &str = "1.3.101.112";

/// The DER form of a request's key; none where there is no sound request.
pub(super) fn public_key(base64: &str) -> Option<Vec<u8>> {
    let der = STANDARD.decode(base64).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&der).ok()?;
    Some(request.certification_request_info.subject_pki.raw.to_vec())
}

/// Checks the request, its key and that it is signed by it.
pub(super) fn validate(field: &At<'_>, errors: &mut ErrorList) {
    let der = STANDARD.decode(field.text()).unwrap_or_default();
    if der.len() > BYTES_MAX {
        errors.too_long(&field.path, BYTES_MAX);
        return;
    }
    let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
        errors.invalid_unshown(&field.path, "must be a valid DER-encoded PKCS#10 request");
        return;
    };
    if let Some(fault) = key_fault(&request.certification_request_info.subject_pki) {
        errors.invalid_unshown(&field.path, &fault);
    } else if let Err(error) = request.verify_signature() {
        errors.invalid_unshown(&field.path, &format!("could not verify the request's signature: {error}"));
    }
}

/// What is wrong with the kind of a key.
fn key_fault(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    if key.algorithm.algorithm.to_id_string() == ED25519 {
        return None;
    }
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) if RSA_BITS.contains(&rsa.key_size()) => None,
        Ok(PublicKey::RSA(_)) => Some("RSA keys must have modulus size 3072 or 4096".into()),
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
            let known = curve.is_some_and(|curve| CURVES.contains(&curve.to_id_string().as_str()));
            (!known).then(|| "elliptic public keys must use curve P256 or P384".into())
        }
        _ => Some("unknown public key type; supported types are Ed25519, ECDSA, and RSA".into()),
    }
}
