//! Several authorities in one text, as while a cluster exchanges the one that it had for another: who is among them, and whose
//! a certificate is.

use std::fmt::Write as _;

use x509_parser::pem::{Pem, parse_x509_pem};

use super::authority::PkiError;
use super::request::public_key_sha256;

/// The authorities of `bundle_pem`, in its order, each by the SHA-256 of its public key in hexadecimal digits.
///
/// # Errors
/// The text holds something else than certificates, or none.
pub fn pins(bundle_pem: &str) -> Result<Vec<String>, PkiError> {
    let pin = |block: Result<Pem, _>| {
        let block =
            block.map_err(|error: x509_parser::error::PEMError| PkiError::Parse(error.to_string()))?;
        public_key_sha256(&block.contents).map(|hash| hex(&hash))
    };
    let all: Vec<String> = Pem::iter_from_buffer(bundle_pem.as_bytes()).map(pin).collect::<Result<_, _>>()?;
    if all.is_empty() { Err(PkiError::Parse("there is no certificate".to_owned())) } else { Ok(all) }
}

/// Which authority of `bundle_pem` has issued the first certificate of `leaf_pem`, by its signature; none if none of them has.
///
/// # Errors
/// One of the texts holds no certificate.
pub fn issuer(leaf_pem: &str, bundle_pem: &str) -> Result<Option<String>, PkiError> {
    let (_, block) =
        parse_x509_pem(leaf_pem.as_bytes()).map_err(|error| PkiError::Parse(error.to_string()))?;
    let leaf = block.parse_x509().map_err(|error| PkiError::Parse(error.to_string()))?;
    for authority in Pem::iter_from_buffer(bundle_pem.as_bytes()) {
        let authority = authority.map_err(|error| PkiError::Parse(error.to_string()))?;
        let certificate = authority.parse_x509().map_err(|error| PkiError::Parse(error.to_string()))?;
        if leaf.verify_signature(Some(certificate.public_key())).is_ok() {
            return public_key_sha256(&authority.contents).map(|hash| Some(hex(&hash)));
        }
    }
    Ok(None)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pki::{Ca, LeafRequest, Usage};
    use time::OffsetDateTime;

    #[test]
    fn a_bundle_tells_its_authorities_and_whose_a_certificate_is() {
        let now = OffsetDateTime::now_utc();
        let ca = || Ca::generate("ca", now, Duration::from_secs(3600)).unwrap();
        let (old, new, other) = (ca(), ca(), ca());
        let bundle = format!("{}{}", old.certificate_pem(), new.certificate_pem());
        let both = pins(&bundle).unwrap();
        assert_eq!(
            both,
            [pins(old.certificate_pem()).unwrap(), pins(new.certificate_pem()).unwrap()].concat()
        );
        let request = LeafRequest {
            common_name: "a".to_owned(),
            organization: None,
            names: Vec::new(),
            usage: Usage::Client,
            validity: Duration::from_secs(60),
        };
        let of = |ca: &Ca| issuer(&ca.issue(&request, now).unwrap().certificate_pem, &bundle).unwrap();
        assert_eq!([of(&old), of(&new)], [Some(both[0].clone()), Some(both[1].clone())]);
        assert_eq!(of(&other), None, "of the same name, and with another key");
        assert!(pins("").is_err() && pins("nonsense").is_err() && issuer("", &bundle).is_err());
    }
}
