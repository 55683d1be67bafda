//! HTTPS to a server whose authority is known by its pin only.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use mainstay_base::pki::public_key_sha256;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::bytes::Bytes;

use super::Invitation;
use super::desk::ANOTHER_JOINS;
use crate::refusal::refuse;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Adding a member waits for the others; the server's own limit is below this.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const BODY_BYTES_MAX: usize = 1 << 20;

/// The server refuses for now, because another one is joining.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct AnotherJoins(String);

/// Calls to the server of an invitation.
pub(super) struct Pinned<'a> {
    invitation: &'a Invitation,
    verifier: Arc<PinVerifier>,
    tls: TlsConnector,
}

impl<'a> Pinned<'a> {
    pub(super) fn new(invitation: &'a Invitation) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(PinVerifier {
            pin: invitation.token.pin,
            provider: Arc::clone(&provider),
            authority: OnceLock::new(),
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        Ok(Self { invitation, verifier, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// The cluster's authority, PEM, once a call has succeeded.
    pub(super) fn ca_pem(&self) -> Option<String> {
        self.verifier.authority.get().map(|der| super::pem("CERTIFICATE", der))
    }

    /// One call with the token. The answer's body.
    ///
    /// # Errors
    /// One line that says why not: nobody there, a stranger, a token that does not count, or the server's own reason; [`AnotherJoins`]
    /// where asking again helps.
    pub(super) async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
        let url = format!("https://{}", self.invitation.server);
        let stream = match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(self.invitation.server)).await
        {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(refuse(unreachable(&url, &error.to_string()))),
            Err(_elapsed) => return Err(refuse(unreachable(&url, "no answer within 5 s"))),
        };
        let name = ServerName::IpAddress(self.invitation.server.ip().into());
        let tls = tokio::time::timeout(CONNECT_MAX, self.tls.connect(name, stream)).await;
        let tls = match tls {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return Err(refuse(not_trusted(&url, &error))),
            Err(_elapsed) => return Err(refuse(unreachable(&url, "no TLS greeting within 5 s"))),
        };
        let answered = tokio::time::timeout(ANSWER_MAX, self.exchange(tls, method, path, body)).await;
        let (code, body) = answered.map_err(|_elapsed| {
            refuse(format!("{url} did not answer within {} s", ANSWER_MAX.as_secs()))
        })??;
        if (200..300).contains(&code) {
            return Ok(body);
        }
        let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let why = self.refusal(code, &status);
        if status.get("reason").and_then(serde_json::Value::as_str) == Some(ANOTHER_JOINS) {
            return Err(AnotherJoins(why).into());
        }
        Err(refuse(why))
    }

    async fn exchange(
        &self,
        tls: tokio_rustls::client::TlsStream<TcpStream>,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<(u16, Bytes)> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.invitation.server.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.invitation.token.bearer()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let exchange = async move {
            let response = sender.send_request(request).await?;
            let code = response.status().as_u16();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?;
            anyhow::Ok((code, body.to_bytes()))
        };
        // The connection is driven beside the exchange, which takes the sender with it and so ends the connection.
        let (exchanged, _ended) = tokio::join!(exchange, connection);
        exchanged
    }

    fn refusal(&self, code: u16, status: &serde_json::Value) -> String {
        let said = status.get("message").and_then(serde_json::Value::as_str).unwrap_or("no reason given");
        let server = self.invitation.server;
        match code {
            401 => format!(
                "https://{server} does not know the token {}: it has expired, was revoked, or is wrong: make a new one with `mainstay token create`",
                self.invitation.token.id
            ),
            403 => format!(
                "https://{server} does not allow this with the token {}: a server needs one of `mainstay token create --server` ({said})",
                self.invitation.token.id
            ),
            404 => format!("https://{server} is not a server that others can join ({said})"),
            _ => format!("https://{server}: {said}"),
        }
    }
}

fn unreachable(url: &str, why: &str) -> String {
    format!("{url} cannot be reached ({why}): is the server up, and the port open?")
}

fn not_trusted(url: &str, error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            format!(
                "{url} is not of the cluster that the token is of (its authority has another key): check address and token"
            )
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => format!("the certificate of {url} is not valid yet by this machine's clock: set the clock"),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => format!("the certificate of {url} has expired by this machine's clock: set the clock"),
        _ => format!("{url} speaks no TLS that can be trusted: {error}"),
    }
}

/// Takes a chain whose authority has the pinned key, and checks the rest as usual.
#[derive(Debug)]
struct PinVerifier {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
    authority: OnceLock<CertificateDer<'static>>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_pinned =
            |der: &&CertificateDer<'_>| public_key_sha256(der).is_ok_and(|found| found == self.pin);
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let authority = intermediates.iter().find(is_pinned).ok_or_else(|| unknown.clone())?;
        let authority = authority.clone().into_owned();
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        let checked =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.authority.get_or_init(|| authority);
        Ok(checked)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
