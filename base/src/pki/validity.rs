//! From when to when a certificate is good, whom it names, and when it is to be renewed.

use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;

use super::authority::{BACKDATE, PkiError};

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its subject, such as `O=system:nodes, CN=system:node:a`.
    pub subject: String,
    /// Whether it is an authority's.
    pub is_authority: bool,
    /// When it begins to be good.
    pub not_before: OffsetDateTime,
    /// When it ends.
    pub not_after: OffsetDateTime,
}

/// Reads the first certificate of `pem`.
///
/// # Errors
/// The text holds no parsable certificate.
pub fn facts(pem: &str) -> Result<Facts, PkiError> {
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|error| PkiError::Parse(error.to_string()))?;
    let certificate = block.parse_x509().map_err(|error| PkiError::Parse(error.to_string()))?;
    Ok(Facts {
        subject: certificate.subject().to_string(),
        is_authority: certificate.is_ca(),
        not_before: certificate.validity().not_before.to_datetime(),
        not_after: certificate.validity().not_after.to_datetime(),
    })
}

impl Facts {
    /// When it is to be renewed: when a quarter of its time is left. It is dated back a little, which is no part of that time.
    pub fn renewed_at(&self) -> OffsetDateTime {
        let whole = self.not_after - self.not_before;
        let lifetime = (whole - Duration::try_from(BACKDATE).unwrap_or_default()).max(whole / 8);
        self.not_after - lifetime / 4
    }

    /// Whether it is to be renewed now.
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        now >= self.renewed_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Ca, LeafRequest, Usage};

    fn lasting(seconds: u64, now: OffsetDateTime) -> Facts {
        let ca = Ca::generate("ca", now, std::time::Duration::from_secs(86_400 * 3650)).unwrap();
        assert!(facts(ca.certificate_pem()).unwrap().is_authority);
        let request = LeafRequest {
            common_name: "a".to_owned(),
            organization: Some("b".to_owned()),
            names: Vec::new(),
            usage: Usage::Client,
            validity: std::time::Duration::from_secs(seconds),
        };
        facts(&ca.issue(&request, now).unwrap().certificate_pem).unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_when_a_quarter_of_its_time_is_left() {
        let now = OffsetDateTime::from_unix_timestamp(1_764_000_000).unwrap();
        let minute = lasting(60, now);
        assert_eq!(minute.subject, "O=b, CN=a");
        assert!(!minute.is_authority && !minute.is_due(now) && !minute.is_due(now + Duration::seconds(44)));
        assert!(minute.is_due(now + Duration::seconds(45)));
        let year = lasting(365 * 86_400, now);
        assert!(!year.is_due(now + Duration::days(273)) && year.is_due(now + Duration::days(274)));
    }
}
