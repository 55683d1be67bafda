//! What a certificate on disk still covers, so that it can be renewed in time.

use std::net::IpAddr;

use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use super::authority::{PkiError, SubjectName};

/// When the first certificate of `pem` ends.
///
/// # Errors
/// The text holds no parsable certificate.
pub fn not_after(pem: &str) -> Result<OffsetDateTime, PkiError> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|error| PkiError::Parse(error.to_string()))?;
    let certificate = block.parse_x509().map_err(|error| PkiError::Parse(error.to_string()))?;
    Ok(certificate.validity().not_after.to_datetime())
}

/// Whether the first certificate of `pem` answers for every one of `names`.
///
/// # Errors
/// The text holds no parsable certificate.
pub fn covers(pem: &str, names: &[SubjectName]) -> Result<bool, PkiError> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|error| PkiError::Parse(error.to_string()))?;
    let certificate = block.parse_x509().map_err(|error| PkiError::Parse(error.to_string()))?;
    let held = certificate.subject_alternative_name().map_err(|error| PkiError::Parse(error.to_string()))?;
    let held = held.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    Ok(names.iter().all(|name| held.iter().any(|general| same(general, name))))
}

fn same(general: &GeneralName<'_>, name: &SubjectName) -> bool {
    match (general, name) {
        (GeneralName::DNSName(held), SubjectName::Dns(wanted)) => held == wanted,
        (GeneralName::IPAddress(held), SubjectName::Ip(IpAddr::V4(wanted))) => *held == wanted.octets(),
        (GeneralName::IPAddress(held), SubjectName::Ip(IpAddr::V6(wanted))) => *held == wanted.octets(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Ca, LeafRequest, Usage};
    use std::time::Duration;

    #[test]
    fn names_and_end_are_read_back() {
        let now = OffsetDateTime::now_utc();
        let ca = Ca::generate("ca", now, Duration::from_secs(3600)).unwrap();
        let address = SubjectName::Ip("10.43.0.1".parse().unwrap());
        let request = LeafRequest {
            common_name: "kube-apiserver".to_owned(),
            organization: None,
            names: vec![address.clone(), SubjectName::Dns("kubernetes".to_owned())],
            usage: Usage::Server,
            validity: Duration::from_secs(60),
        };
        let leaf = ca.issue(&request, now).unwrap();
        assert!(covers(&leaf.certificate_pem, &request.names).unwrap());
        assert!(!covers(&leaf.certificate_pem, &[SubjectName::Ip("10.0.0.1".parse().unwrap())]).unwrap());
        let end = not_after(&leaf.certificate_pem).unwrap();
        assert!((end - (now + Duration::from_secs(60))).abs() < time::Duration::seconds(2));
    }
}
