//! Connections to extension servers: TLS with the front proxy's certificate, and the other end's certificate checked as the
//! APIService says.

use std::sync::Arc;

use hyper::client::conn::http1::SendRequest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::remote::Remote;
use crate::callout::service_address;
use crate::config::FrontProxy;
use crate::registry::Registry;
use crate::stream::backend::{AnyServer, Backend, BackendError, Target, Trust};
use crate::types::Body;

/// Opens connections to extension servers. Clones share what they need.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) registry: Registry,
    pub(super) backend: Backend,
    front_proxy: Option<FrontProxy>,
}

impl Client {
    pub(super) fn new(registry: Registry, backend: Backend, front_proxy: Option<FrontProxy>) -> Self {
        Self { registry, backend, front_proxy }
    }

    /// Where the server is now.
    ///
    /// # Errors
    /// A Service, port or endpoint that is not there.
    pub(super) fn target(&self, remote: &Remote) -> Result<Target, String> {
        let (host, port) =
            service_address(&self.registry, (&remote.namespace, &remote.service), remote.port, 0)?;
        Ok(Target { host, port, trust: Trust::Anybody })
    }

    /// A fresh connection.
    ///
    /// # Errors
    /// No connection, or one to somebody else.
    pub(super) async fn connect(
        &self,
        remote: &Remote,
        target: &Target,
    ) -> Result<SendRequest<Body>, BackendError> {
        let connector = self.connector(remote)?;
        self.backend.connect_by(&connector, target, &remote.host()).await
    }

    fn connector(&self, remote: &Remote) -> Result<TlsConnector, BackendError> {
        let failed = |error: &dyn std::fmt::Display| BackendError::Identity(error.to_string());
        let none = "the server has no front proxy certificate, which extension servers ask for";
        let front_proxy = self.front_proxy.as_ref().ok_or_else(|| failed(&none))?;
        let identity = front_proxy.identity.borrow().clone();
        let chain = CertificateDer::pem_slice_iter(&identity.cert_pem).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| failed(&error))?;
        let key = PrivateKeyDer::from_pem_slice(&identity.key_pem).map_err(|error| failed(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?;
        let builder = if remote.is_unchecked {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer { provider }))
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&remote.ca_pem) {
                roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
            }
            builder.with_root_certificates(roots)
        };
        let config = builder.with_client_auth_cert(chain, key).map_err(|error| failed(&error))?;
        Ok(TlsConnector::from(Arc::new(config)))
    }
}
