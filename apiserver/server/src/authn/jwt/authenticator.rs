//! [`JwtAuthenticator`]: one issuer's tokens.

use std::sync::Arc;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use mainstay_apiserver_machinery::value::{Value, to_value};
use mainstay_base::lifecycle::{Clock, Tasks};

use super::config::{AuthenticationConfig, IssuerConfig};
use super::keys::IssuerKeys;
use super::mapping;
use crate::types::UserInfo;

/// How far the issuer's clock may be ahead when it starts a token's life, in seconds.
const NOT_BEFORE_LEEWAY_SECS: i64 = 300;
/// Signatures that are accepted: those with a public key.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Why a token of the issuer does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not a signed token of an algorithm with public keys.
    #[error("oidc: malformed jwt")]
    Malformed,
    /// The issuer's keys.
    #[error("oidc: fetching the issuer's keys: {0}")]
    Keys(String),
    /// No key of the issuer made the signature.
    #[error("oidc: verify token: failed to verify signature")]
    Signature,
    /// Its time is over or has not come.
    #[error("oidc: verify token: {0}")]
    Time(&'static str),
    /// Other audiences.
    #[error("oidc: verify token: oidc: expected audience in {wanted:?} got {held:?}")]
    Audience {
        /// Those that would do.
        wanted: Vec<String>,
        /// The token's.
        held: Vec<String>,
    },
    /// The claims name no user.
    #[error("{0}")]
    Claims(String),
}

/// Authenticates tokens of one issuer.
pub struct JwtAuthenticator {
    config: Arc<IssuerConfig>,
    keys: IssuerKeys,
}

impl JwtAuthenticator {
    /// One for each issuer of the configuration. Nothing is fetched yet.
    pub fn all(config: &AuthenticationConfig, tasks: &Tasks, clock: &Arc<dyn Clock>) -> Vec<Self> {
        let of = |issuer: &Arc<IssuerConfig>| Self {
            config: Arc::clone(issuer),
            keys: IssuerKeys::new(Arc::clone(issuer), tasks.clone(), Arc::clone(clock)),
        };
        config.issuers.iter().map(of).collect()
    }

    /// Whether tokens of this issuer are its business.
    pub fn is_issuer(&self, issuer: &str) -> bool {
        self.config.url == issuer
    }

    /// The user of a token. `now` is in Unix seconds.
    ///
    /// # Errors
    /// [`JwtError`].
    pub async fn authenticate(&self, token: &str, now: i64) -> Result<UserInfo, JwtError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_malformed| JwtError::Malformed)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(JwtError::Malformed);
        }
        let keys = self.keys.find(header.kid.as_deref()).await.map_err(JwtError::Keys)?;
        let claims =
            keys.iter().find_map(|key| verified(token, key, header.alg)).ok_or(JwtError::Signature)?;
        check(&self.config, &claims, now)?;
        mapping::user(&self.config, &claims).map_err(JwtError::Claims)
    }
}

/// The claims, if `key` made the signature.
fn verified(token: &str, key: &Jwk, algorithm: Algorithm) -> Option<Value> {
    // A key that names its algorithm is good for no other.
    if key.common.key_algorithm.is_some_and(|named| named.to_string() != format!("{algorithm:?}")) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(key).ok()?;
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let decoded = jsonwebtoken::decode::<serde_json::Value>(token, &decoding, &validation).ok()?;
    to_value(&decoded.claims).ok().filter(|claims| matches!(claims, Value::Map(_)))
}

/// Issuer, times and audiences. Pure.
pub(super) fn check(config: &IssuerConfig, claims: &Value, now: i64) -> Result<(), JwtError> {
    if claims.path_str(&["iss"]) != Some(config.url.as_str()) {
        return Err(JwtError::Claims("oidc: id token issued by a different provider".to_owned()));
    }
    let seconds = |name: &str| match claims.get(name) {
        Some(Value::Int(seconds)) => Some(*seconds),
        Some(Value::Float(seconds)) => Some(*seconds as i64),
        _ => None,
    };
    if seconds("exp").is_none_or(|exp| now >= exp) {
        return Err(JwtError::Time("oidc: token is expired"));
    }
    if seconds("nbf").is_some_and(|nbf| nbf > now.saturating_add(NOT_BEFORE_LEEWAY_SECS)) {
        return Err(JwtError::Time("oidc: current time before the nbf (not before) time"));
    }
    let held: Vec<String> = match claims.get("aud") {
        Some(Value::Str(one)) => vec![one.to_string()],
        Some(Value::List(all)) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    if !held.iter().any(|audience| config.audiences.contains(audience)) {
        return Err(JwtError::Audience { wanted: config.audiences.clone(), held });
    }
    Ok(())
}
