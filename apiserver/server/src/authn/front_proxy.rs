//! Identities that a front proxy states in headers (upstream's `requestheader`), believed only from the proxy's own
//! certificate.

use std::collections::BTreeMap;

use http::HeaderMap;
use rustls::pki_types::{CertificateDer, UnixTime};
use smol_str::SmolStr;

use super::certificate::{CertificateAuthenticator, CertificateError};
use crate::types::UserInfo;

/// Whose headers are believed, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontProxyConfig {
    /// The authority of the proxy's certificate, PEM.
    pub ca_pem: Vec<u8>,
    /// Common names of proxies; empty for any that the authority signed.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name; the first that is there counts.
    pub username_headers: Vec<String>,
    /// Headers with the user's uid.
    pub uid_headers: Vec<String>,
    /// Headers with groups.
    pub group_headers: Vec<String>,
    /// Beginnings of headers with extras.
    pub extra_prefixes: Vec<String>,
}

/// Believes the headers of a proxy.
#[derive(Debug)]
pub struct FrontProxy {
    certificates: CertificateAuthenticator,
    config: FrontProxyConfig,
}

impl FrontProxy {
    /// Believes proxies whose certificates `certificates` verifies.
    pub fn new(certificates: CertificateAuthenticator, config: FrontProxyConfig) -> Self {
        Self { certificates, config }
    }

    /// The user that a proxy states; none for a request that is not a proxy's or states nobody.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Option<UserInfo>, CertificateError> {
        if self.config.username_headers.iter().all(|name| !headers.contains_key(name.as_str())) {
            return Ok(None);
        }
        let Some(proxy) = self.certificates.authenticate(chain, now)? else { return Ok(None) };
        let allowed = &self.config.allowed_names;
        if !allowed.is_empty() && !allowed.iter().any(|name| *name == proxy.name) {
            return Ok(None);
        }
        Ok(self.stated(headers))
    }

    /// What the headers state. Pure.
    fn stated(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let first = |names: &[String]| {
            let values = names.iter().filter_map(|name| headers.get(name.as_str())?.to_str().ok());
            values.map(str::trim).find(|text| !text.is_empty()).map(SmolStr::from)
        };
        let name = first(&self.config.username_headers)?;
        let groups = self.config.group_headers.iter().flat_map(|name| headers.get_all(name.as_str()));
        let groups =
            groups.filter_map(|value| value.to_str().ok()).map(str::trim).filter(|text| !text.is_empty());
        let mut extra: BTreeMap<SmolStr, Vec<SmolStr>> = BTreeMap::new();
        for (header, value) in headers {
            let key = self.config.extra_prefixes.iter().find_map(|prefix| {
                let prefix = prefix.to_lowercase();
                header.as_str().strip_prefix(prefix.as_str()).map(super::impersonation::unescape)
            });
            if let (Some(key), Ok(value)) = (key, value.to_str()) {
                extra.entry(key.into()).or_default().push(value.into());
            }
        }
        Some(UserInfo {
            name,
            uid: first(&self.config.uid_headers).unwrap_or_default(),
            groups: groups.map(SmolStr::from).collect(),
            extra,
        })
    }
}
