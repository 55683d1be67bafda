//! PEM and X.509 as certificates and requests for them stand in objects. Reads any bytes; never trusts a length.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The blocks of a PEM text.
fn blocks(text: &[u8]) -> Result<Vec<Pem>, String> {
    let blocks: Result<Vec<Pem>, _> = Pem::iter_from_buffer(text).collect();
    blocks.map_err(|error| error.to_string())
}

/// Checks a request: base64 of a PEM block with a request that is signed by its own key.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_request(base64: &str) -> Result<(), String> {
    const TYPE: &str = "PEM block type must be CERTIFICATE REQUEST";
    let text = STANDARD.decode(base64).map_err(|error| error.to_string())?;
    let all = blocks(&text)?;
    let block = all.first().filter(|block| block.label == "CERTIFICATE REQUEST").ok_or(TYPE)?;
    let (_, request) =
        X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    request.verify_signature().map_err(|error| format!("the request's signature does not fit: {error}"))
}

/// Checks certificates: base64 of PEM blocks, at least one, all of them certificates.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check_certificates(base64: &str) -> Result<(), String> {
    if base64.is_empty() {
        return Ok(());
    }
    let text = STANDARD.decode(base64).map_err(|error| error.to_string())?;
    check_certificate_text(&text)
}

/// As [`check_certificates`], of a PEM text.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check_certificate_text(text: &[u8]) -> Result<(), String> {
    let all = blocks(text)?;
    for block in &all {
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        X509Certificate::from_der(&block.contents).map_err(|error| error.to_string())?;
    }
    if all.is_empty() {
        return Err(String::from("must contain at least one CERTIFICATE PEM block"));
    }
    Ok(())
}
