//! Client certificates: the TLS layer takes any, this module decides whether one names a user.
//!
//! As upstream, a certificate that does not verify fails authentication with 401, not the handshake: the
//! caller learns why in HTTP. Chain, validity period and the clientAuth usage are checked by webpki.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use smol_str::{SmolStr, format_smolstr};
use tokio::sync::watch;
use tracing::error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::user::EXTRA_CREDENTIAL_ID;
use crate::types::UserInfo;

/// How long a verified chain is trusted without verifying it again.
const VERIFIED_FOR: Duration = Duration::from_secs(60);
/// How many verified chains are remembered.
const VERIFIED_MAX: usize = 1024;
/// The longest chain that is looked at.
const CHAIN_MAX: usize = 10;

/// Why a client certificate names no user.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain, period or usage does not hold.
    #[error("verifying the client certificate")]
    Verify(#[source] rustls::Error),
    /// The client sent a chain longer than any that is looked at.
    #[error("the client sent {0} certificates, at most {CHAIN_MAX} are looked at")]
    ChainTooLong(usize),
    /// The leaf is not a certificate.
    #[error("parsing the client certificate: {0}")]
    Parse(String),
}

/// Authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// They are no certificates.
    #[error("reading the CA of client certificates: {0}")]
    Read(String),
    /// There is none.
    #[error("building the verifier of client certificates")]
    Build(#[source] rustls::server::VerifierBuilderError),
}

/// Maps verified client certificates to users: common name to name, organisations to groups.
pub struct CertificateAuthenticator {
    provider: Arc<CryptoProvider>,
    believed: Mutex<Believed>,
}

/// Who is believed now, and who was verified under that.
struct Believed {
    authorities: watch::Receiver<String>,
    verifier: Arc<dyn ClientCertVerifier>,
    verified: HashMap<[u8; 32], (UnixTime, Arc<UserInfo>)>,
}

impl std::fmt::Debug for CertificateAuthenticator {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CertificateAuthenticator").finish_non_exhaustive()
    }
}

impl CertificateAuthenticator {
    /// Trusts certificates issued below `authorities`, PEM; below others as soon as they change.
    ///
    /// # Errors
    /// [`VerifierError`] for those that are there now. Later ones that cannot be used leave things as they are.
    pub fn new(
        mut authorities: watch::Receiver<String>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierError> {
        let verifier = verifier(&authorities.borrow_and_update(), &provider)?;
        let believed = Believed { authorities, verifier, verified: HashMap::new() };
        Ok(Self { provider, believed: Mutex::new(believed) })
    }

    /// The user that the chain names; none when there is no certificate.
    pub fn authenticate(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Option<Arc<UserInfo>>, CertificateError> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Ok(None) };
        if chain.len() > CHAIN_MAX {
            return Err(CertificateError::ChainTooLong(chain.len()));
        }
        let key = fingerprint(chain);
        let verifier = match self.recall(&key, now) {
            Ok(user) => return Ok(Some(user)),
            Err(verifier) => verifier,
        };
        verifier.verify_client_cert(leaf, intermediates, now).map_err(CertificateError::Verify)?;
        // As upstream: a subject without a common name names nobody, so other credentials decide.
        let Some((mut user, expires)) = user_of(leaf)? else { return Ok(None) };
        user.mark_authenticated();
        let user = Arc::new(user);
        self.remember(&verifier, key, (now, expires), &user);
        Ok(Some(user))
    }

    /// Who was verified before, or who verifies.
    fn recall(&self, key: &[u8; 32], now: UnixTime) -> Result<Arc<UserInfo>, Arc<dyn ClientCertVerifier>> {
        let mut believed = self.believed.lock();
        // An error means that they never change any more.
        if believed.authorities.has_changed().unwrap_or(false) {
            let pem = believed.authorities.borrow_and_update().clone();
            match verifier(&pem, &self.provider) {
                Ok(verifier) => {
                    believed.verifier = verifier;
                    believed.verified.clear();
                }
                Err(error) => error!(%error, "the new authorities cannot be used; those before stay"),
            }
        }
        let found = believed.verified.get(key).filter(|(until, _)| now.as_secs() < until.as_secs());
        found.map(|(_, user)| Arc::clone(user)).ok_or_else(|| Arc::clone(&believed.verifier))
    }

    /// Notes what `by` has verified, unless others are believed by now.
    fn remember(
        &self,
        by: &Arc<dyn ClientCertVerifier>,
        key: [u8; 32],
        (now, expires): (UnixTime, u64),
        user: &Arc<UserInfo>,
    ) {
        let until = (now.as_secs() + VERIFIED_FOR.as_secs()).min(expires);
        let mut believed = self.believed.lock();
        if !Arc::ptr_eq(&believed.verifier, by) {
            return;
        }
        if believed.verified.len() >= VERIFIED_MAX {
            believed.verified.clear();
        }
        let until = UnixTime::since_unix_epoch(Duration::from_secs(until));
        believed.verified.insert(key, (until, Arc::clone(user)));
    }
}

fn verifier(
    authorities_pem: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| VerifierError::Read(error.to_string()))?;
        roots.add(certificate).map_err(|error| VerifierError::Read(error.to_string()))?;
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    built.map_err(VerifierError::Build)
}

/// The user in a certificate's subject, if it names one, and the time (Unix seconds) at which it ends.
fn user_of(leaf: &CertificateDer<'_>) -> Result<Option<(UserInfo, u64)>, CertificateError> {
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|error| CertificateError::Parse(error.to_string()))?;
    let subject = certificate.subject();
    // Go keeps the last common name of a subject; a subject has one in practice.
    let name =
        subject.iter_common_name().filter_map(|attribute| attribute.as_str().ok()).last().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let groups = subject
        .iter_organization()
        .filter_map(|attribute| attribute.as_str().ok())
        .map(SmolStr::from)
        .collect();
    let digest = Sha256::digest(leaf.as_ref());
    let credential = format_smolstr!("X509SHA256={}", hex(&digest));
    let user = UserInfo {
        name: name.into(),
        uid: SmolStr::default(),
        groups,
        extra: BTreeMap::from([(EXTRA_CREDENTIAL_ID.into(), vec![credential])]),
    };
    Ok(Some((user, u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0))))
}

fn fingerprint(chain: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for certificate in chain {
        hash.update((certificate.len() as u64).to_be_bytes());
        hash.update(certificate.as_ref());
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// The TLS-level verifier: asks for a client certificate and checks only that the client holds its key.
/// Whether the certificate is trusted is decided per request by [`CertificateAuthenticator`].
#[derive(Debug)]
pub struct RequestClientCertificate {
    provider: Arc<CryptoProvider>,
    hints: Vec<DistinguishedName>,
}

impl RequestClientCertificate {
    /// Names the subjects of `roots` to clients as the issuers that are trusted.
    pub fn new(roots: &RootCertStore, provider: Arc<CryptoProvider>) -> Self {
        Self { provider, hints: roots.subjects() }
    }
}

impl ClientCertVerifier for RequestClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };
    use time::OffsetDateTime;

    struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
    }

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn leaf(authority: &Authority, usage: ExtendedKeyUsagePurpose, name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        params.extended_key_usages = vec![usage];
        params.not_before = OffsetDateTime::from_unix_timestamp(1_000_000).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(2_000_000).unwrap();
        params.signed_by(&KeyPair::generate().unwrap(), &authority.issuer).unwrap().der().clone()
    }

    fn following(authorities: watch::Receiver<String>) -> CertificateAuthenticator {
        CertificateAuthenticator::new(authorities, Arc::new(rustls::crypto::ring::default_provider()))
            .unwrap()
    }

    fn authenticator(authority: &Authority) -> CertificateAuthenticator {
        following(watch::channel(authority.issuer.pem()).1)
    }

    fn at(secs: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(secs))
    }

    #[test]
    fn subject_becomes_user_and_groups() {
        let authority = authority("ca");
        let cert = leaf(&authority, ExtendedKeyUsagePurpose::ClientAuth, "admin");
        let user = authenticator(&authority).authenticate(&[cert], at(1_500_000)).unwrap().unwrap();
        assert_eq!(user.name, "admin");
        assert_eq!(user.groups, ["system:masters", super::super::user::AUTHENTICATED]);
        assert!(user.extra[EXTRA_CREDENTIAL_ID][0].starts_with("X509SHA256="));
    }

    #[test]
    fn authorities_may_change_and_what_was_verified_under_others_counts_no_more() {
        let (old, new) = (authority("old"), authority("new"));
        let of = |authority: &Authority| leaf(authority, ExtendedKeyUsagePurpose::ClientAuth, "admin");
        let (before, after) = (of(&old), of(&new));
        let told = watch::Sender::new(old.issuer.pem());
        let authenticator = following(told.subscribe());
        let knows = |cert: &CertificateDer<'_>| {
            authenticator.authenticate(std::slice::from_ref(cert), at(1_500_000)).is_ok()
        };
        assert_eq!([knows(&before), knows(&after)], [true, false]);
        told.send_replace(format!("{}{}", old.issuer.pem(), new.issuer.pem()));
        assert_eq!([knows(&before), knows(&after)], [true, true]);
        told.send_replace("nonsense".to_owned());
        assert_eq!([knows(&before), knows(&after)], [true, true], "those before stay");
        told.send_replace(new.issuer.pem());
        assert_eq!([knows(&before), knows(&after)], [false, true]);
        drop(told);
        assert!(knows(&after));
    }

    #[test]
    fn expiry_ends_a_remembered_certificate() {
        let authority = authority("ca");
        let cert = leaf(&authority, ExtendedKeyUsagePurpose::ClientAuth, "admin");
        let authenticator = authenticator(&authority);
        assert!(authenticator.authenticate(std::slice::from_ref(&cert), at(1_999_990)).is_ok());
        assert!(authenticator.authenticate(&[cert], at(2_000_001)).is_err());
    }

    #[test]
    fn other_authorities_and_server_certificates_are_refused() {
        let (ours, theirs) = (authority("ca"), authority("ca"));
        let authenticator = authenticator(&ours);
        let cases = [
            ("foreign", leaf(&theirs, ExtendedKeyUsagePurpose::ClientAuth, "admin")),
            ("server", leaf(&ours, ExtendedKeyUsagePurpose::ServerAuth, "admin")),
        ];
        for (what, cert) in cases {
            assert!(authenticator.authenticate(&[cert], at(1_500_000)).is_err(), "{what}");
        }
        assert!(authenticator.authenticate(&[], at(1_500_000)).unwrap().is_none());
        let nameless = leaf(&ours, ExtendedKeyUsagePurpose::ClientAuth, "");
        assert!(authenticator.authenticate(&[nameless], at(1_500_000)).unwrap().is_none());
    }
}
