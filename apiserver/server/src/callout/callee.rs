//! [`Callee`]: where a webhook is and whom it must prove to be, as a `clientConfig` says. Pure.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// At a URL.
    Url(String),
    /// Behind a Service.
    Service { namespace: SmolStr, name: SmolStr, path: String, port: u16 },
}

/// A webhook that can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callee {
    /// Names the webhook, in this version of its configuration, for connections that are kept.
    pub(super) key: SmolStr,
    pub(super) place: Place,
    /// Certificates that the webhook's own must be signed by, PEM.
    pub(super) ca_pem: Vec<u8>,
    /// How long a call may take, from the connection to the end of the answer.
    pub(super) timeout: Duration,
}

/// A `clientConfig` that cannot be read; validation refuses it before it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalleeError {
    /// It says no place.
    #[error("neither url nor service")]
    NoPlace,
    /// `caBundle` is no base64.
    #[error("caBundle: {0}")]
    CaBundle(String),
    /// The port of the Service.
    #[error("{0} is no port")]
    Port(i64),
}

impl Callee {
    /// Reads a `clientConfig`. `key` must change whenever the configuration does.
    ///
    /// # Errors
    /// [`CalleeError`].
    pub fn read(key: SmolStr, config: &Value, timeout: Duration) -> Result<Self, CalleeError> {
        let bundle = config.path_str(&["caBundle"]).unwrap_or_default();
        let ca_pem = STANDARD.decode(bundle).map_err(|error| CalleeError::CaBundle(error.to_string()))?;
        Ok(Self { key, place: place(config)?, ca_pem, timeout })
    }
}

fn place(config: &Value) -> Result<Place, CalleeError> {
    if let Some(url) = config.path_str(&["url"]) {
        return Ok(Place::Url(url.to_owned()));
    }
    let service = config.get("service").ok_or(CalleeError::NoPlace)?;
    let text = |name: &str| service.path_str(&[name]).unwrap_or_default();
    let port = service.path_i64(&["port"]).unwrap_or(443);
    Ok(Place::Service {
        namespace: text("namespace").into(),
        name: text("name").into(),
        path: text("path").to_owned(),
        port: u16::try_from(port).map_err(|_range| CalleeError::Port(port))?,
    })
}
