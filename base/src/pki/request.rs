//! Requests for certificates (PKCS #10), and what a certificate is pinned by.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::{PkiError, SubjectName, san};

/// A request for a certificate with its new private key, both as PEM.
#[derive(Clone)]
pub struct SigningRequest {
    /// The request.
    pub request_pem: String,
    /// The private key that stays here, PKCS #8.
    pub key_pem: String,
}

impl SigningRequest {
    /// A request for `common_name` of `organization`, for a server that answers for `names` or for a client without names.
    ///
    /// # Errors
    /// A name that X.509 cannot hold, or no randomness.
    pub fn new(common_name: &str, organization: &str, names: &[SubjectName]) -> Result<Self, PkiError> {
        let make = |source| PkiError::Make { name: common_name.to_owned(), source };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(make)?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, organization);
        subject.push(DnType::CommonName, common_name);
        params.distinguished_name = subject;
        params.subject_alt_names = names.iter().map(san).collect::<Result<_, _>>().map_err(make)?;
        let request = params.serialize_request(&key).map_err(make)?;
        Ok(Self { request_pem: request.pem().map_err(make)?, key_pem: key.serialize_pem() })
    }
}

/// The SHA-256 of a certificate's public key (its SubjectPublicKeyInfo, DER), as kubeadm pins an authority.
///
/// # Errors
/// Bytes that are no certificate.
pub fn public_key_sha256(certificate_der: &[u8]) -> Result<[u8; 32], PkiError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate_der).map_err(|error| PkiError::Parse(error.to_string()))?;
    Ok(Sha256::digest(certificate.public_key().raw).into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pki::Ca;
    use time::OffsetDateTime;
    use x509_parser::pem::parse_x509_pem;

    #[test]
    fn an_authority_keeps_its_pin_and_others_have_another() {
        let pin = |ca: &Ca| {
            let (_, block) = parse_x509_pem(ca.certificate_pem().as_bytes()).unwrap();
            public_key_sha256(&block.contents).unwrap()
        };
        let make = || Ca::generate("ca", OffsetDateTime::now_utc(), Duration::from_secs(60)).unwrap();
        let ca = make();
        assert_eq!(pin(&ca), pin(&ca));
        assert_ne!(pin(&ca), pin(&make()));
        assert!(public_key_sha256(b"nonsense").is_err());
    }

    #[test]
    fn a_request_names_its_subject() {
        let names = [SubjectName::Dns("a".to_owned()), SubjectName::Ip("10.0.0.1".parse().unwrap())];
        let request = SigningRequest::new("system:node:a", "system:nodes", &names).unwrap();
        let (_, block) = parse_x509_pem(request.request_pem.as_bytes()).unwrap();
        assert_eq!(block.label, "CERTIFICATE REQUEST");
    }
}
