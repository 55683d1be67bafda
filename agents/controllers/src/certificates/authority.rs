//! The authority that signs requests. Its key never leaves the process and is never logged.

use std::time::Duration;

use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use time::OffsetDateTime;

/// A certificate is valid from this long before it is signed, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// A certificate authority and its key, PEM.
#[derive(Clone)]
pub struct Authority {
    /// Its certificate.
    pub certificate_pem: String,
    /// Its key.
    pub key_pem: String,
    /// How long what it signs is good for, if the request asks for no less; upstream's `--cluster-signing-duration`.
    pub lifetime: Duration,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// The certificate for a request that was checked: its subject, names and key, with these usages and until then.
    pub(super) fn sign(
        &self,
        request_pem: &str,
        usages: &[String],
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<String, String> {
        let key =
            KeyPair::from_pem(&self.key_pem).map_err(|error| format!("the authority's key: {error}"))?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, key)
            .map_err(|error| format!("the authority's certificate: {error}"))?;
        let ends = mainstay_base::pki::not_after(&self.certificate_pem)
            .map_err(|error| format!("the authority's certificate: {error}"))?;
        if ends <= now {
            return Err("the authority's certificate has expired".to_owned());
        }
        // Reading it verifies that the requester holds the key.
        let mut request =
            CertificateSigningRequestParams::from_pem(request_pem).map_err(|error| error.to_string())?;
        let params = &mut request.params;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.not_before = now - BACKDATE;
        params.not_after = until.min(ends);
        let mut serial: [u8; 16] = rand::random();
        if let Some(first) = serial.first_mut() {
            *first &= 0x7f; // RFC 5280 §4.1.2.2: positive
        }
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let has = |usage: &str| usages.iter().any(|one| one == usage);
        params.key_usages = [
            ("digital signature", KeyUsagePurpose::DigitalSignature),
            ("key encipherment", KeyUsagePurpose::KeyEncipherment),
        ]
        .into_iter()
        .filter_map(|(name, purpose)| has(name).then_some(purpose))
        .collect();
        params.extended_key_usages = [
            ("server auth", ExtendedKeyUsagePurpose::ServerAuth),
            ("client auth", ExtendedKeyUsagePurpose::ClientAuth),
        ]
        .into_iter()
        .filter_map(|(name, purpose)| has(name).then_some(purpose))
        .collect();
        request.signed_by(&issuer).map(|certificate| certificate.pem()).map_err(|error| error.to_string())
    }
}
