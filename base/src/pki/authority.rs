//! A certificate authority on ECDSA P-256 keys (RFC 5280 profiles as kubeadm makes them).

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

/// Clocks of joining machines may be this much behind ours.
pub(super) const BACKDATE: Duration = Duration::from_secs(300);

/// Why a key or certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Key generation or signing failed.
    #[error("certificate for {name:?} could not be made")]
    Make {
        /// The subject's common name.
        name: String,
        /// What went wrong.
        #[source]
        source: rcgen::Error,
    },
    /// The authority's certificate or key is not usable PEM.
    #[error("certificate authority could not be read from PEM")]
    Read(#[source] rcgen::Error),
    /// A certificate is not usable PEM or DER.
    #[error("certificate could not be parsed: {0}")]
    Parse(String),
}

/// A certificate authority: a self-signed certificate and its key.
#[derive(Clone)]
pub struct Ca {
    certificate_pem: String,
    key_pem: String,
}

/// What a leaf certificate may be used for (X.509 extended key usage).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Proves a client's identity.
    Client,
    /// Proves a server's identity.
    Server,
    /// Both.
    ClientAndServer,
}

/// A name that a server certificate answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectName {
    /// A DNS name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// What a leaf certificate shall say.
#[derive(Debug, Clone)]
pub struct LeafRequest {
    /// The user's or server's name.
    pub common_name: String,
    /// The user's group; Kubernetes reads it from `O`. One at most: rcgen keeps one value for each attribute.
    pub organization: Option<String>,
    /// Names a server answers for; empty for clients.
    pub names: Vec<SubjectName>,
    /// Client, server or both.
    pub usage: Usage,
    /// How long it is valid from now on.
    pub validity: Duration,
}

/// A leaf certificate with its private key, both as PEM.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf").finish_non_exhaustive() // its key is no text for logs
    }
}

impl Ca {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// The system's random source or the signature failed.
    pub fn generate(common_name: &str, now: OffsetDateTime, validity: Duration) -> Result<Self, PkiError> {
        let make = |source| PkiError::Make { name: common_name.to_owned(), source };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = params_for(common_name, None, now, validity).map_err(make)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Self { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// The authority that an earlier [`Ca::generate`] made.
    ///
    /// # Errors
    /// Either text is not PEM, or the key is not one that this library signs with.
    pub fn from_pem(certificate_pem: String, key_pem: String) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(&key_pem).map_err(PkiError::Read)?;
        Issuer::from_ca_cert_pem(&certificate_pem, key).map_err(PkiError::Read)?;
        Ok(Self { certificate_pem, key_pem })
    }

    /// The authority's certificate, to be given to everyone.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key, to be given to no one.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Makes a new key and signs a certificate for it.
    ///
    /// # Errors
    /// A subject name that X.509 cannot hold, or a failed signature.
    pub fn issue(&self, request: &LeafRequest, now: OffsetDateTime) -> Result<Leaf, PkiError> {
        let make = |source| PkiError::Make { name: request.common_name.clone(), source };
        let ca_key = KeyPair::from_pem(&self.key_pem).map_err(PkiError::Read)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, ca_key).map_err(PkiError::Read)?;
        let key = KeyPair::generate().map_err(make)?;
        let mut params =
            params_for(&request.common_name, request.organization.as_deref(), now, request.validity)
                .map_err(make)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = extended_usages(request.usage);
        params.subject_alt_names =
            request.names.iter().map(san).collect::<Result<Vec<_>, _>>().map_err(make)?;
        let certificate = params.signed_by(&key, &issuer).map_err(make)?;
        Ok(Leaf { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// A new ECDSA P-256 private key as PKCS #8 PEM, as for signing ServiceAccount tokens (ES256).
///
/// # Errors
/// The system's random source failed.
pub fn generate_key_pem() -> Result<String, PkiError> {
    let key = KeyPair::generate().map_err(|source| PkiError::Make { name: "key".to_owned(), source })?;
    Ok(key.serialize_pem())
}

fn params_for(
    common_name: &str,
    organization: Option<&str>,
    now: OffsetDateTime,
    validity: Duration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.not_before = now - BACKDATE;
    params.not_after = now + validity;
    let mut serial: [u8; 16] = rand::random();
    serial[0] &= 0x7f; // RFC 5280 §4.1.2.2: positive
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn extended_usages(usage: Usage) -> Vec<ExtendedKeyUsagePurpose> {
    match usage {
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::ClientAndServer => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
    }
}

pub(super) fn san(name: &SubjectName) -> Result<SanType, rcgen::Error> {
    Ok(match name {
        SubjectName::Dns(dns) => SanType::DnsName(dns.as_str().try_into()?),
        SubjectName::Ip(ip) => SanType::IpAddress(*ip),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::pem::parse_x509_pem;

    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    fn request() -> LeafRequest {
        LeafRequest {
            common_name: "system:node:a".to_owned(),
            organization: Some("system:nodes".to_owned()),
            names: vec![
                SubjectName::Dns("localhost".to_owned()),
                SubjectName::Ip("127.0.0.1".parse().unwrap()),
            ],
            usage: Usage::ClientAndServer,
            validity: YEAR,
        }
    }

    #[test]
    fn a_leaf_verifies_against_its_authority_and_no_other() {
        let now = OffsetDateTime::now_utc();
        let ca = Ca::generate("ca", now, YEAR).unwrap();
        let other = Ca::generate("ca", now, YEAR).unwrap();
        let leaf = ca.issue(&request(), now).unwrap();
        let verify = |authority: &Ca| {
            let (_, ca_pem) = parse_x509_pem(authority.certificate_pem().as_bytes()).unwrap();
            let (_, leaf_pem) = parse_x509_pem(leaf.certificate_pem.as_bytes()).unwrap();
            let ca_certificate = ca_pem.parse_x509().unwrap();
            leaf_pem.parse_x509().unwrap().verify_signature(Some(ca_certificate.public_key())).is_ok()
        };
        assert!(verify(&ca));
        assert!(!verify(&other));
    }

    #[test]
    fn a_leaf_carries_the_group_and_the_user() {
        let now = OffsetDateTime::now_utc();
        let leaf = Ca::generate("ca", now, YEAR).unwrap().issue(&request(), now).unwrap();
        let (_, pem) = parse_x509_pem(leaf.certificate_pem.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let subject = certificate.subject();
        let groups: Vec<_> = subject.iter_organization().map(|o| o.as_str().unwrap()).collect();
        assert_eq!(groups, ["system:nodes"]);
        assert_eq!(subject.iter_common_name().next().unwrap().as_str().unwrap(), "system:node:a");
    }

    #[test]
    fn an_authority_survives_its_pem_form() {
        let now = OffsetDateTime::now_utc();
        let ca = Ca::generate("ca", now, YEAR).unwrap();
        let again = Ca::from_pem(ca.certificate_pem().to_owned(), ca.key_pem().to_owned()).unwrap();
        again.issue(&request(), now).unwrap();
        assert!(Ca::from_pem("nonsense".to_owned(), ca.key_pem().to_owned()).is_err());
    }
}
