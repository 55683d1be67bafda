//! Tokens that prove themselves: JSON Web Tokens with the claims of etcd's, `username`, `revision` and `exp`.
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::api::Caller;

/// What the keys' files hold.
pub(super) struct JwtKeys {
    /// PEM, or for the HS methods the secret itself.
    pub(super) private: Option<Vec<u8>>,
    /// PEM.
    pub(super) public: Option<Vec<u8>>,
}

/// Why keys were refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// No such method, or one that is not built in.
    #[error(
        "sign-method {0:?} is not one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
    )]
    Method(String),
    /// The method needs a key that was not given.
    #[error("missing key data")]
    MissingKey,
    /// A signature made with one is not valid under the other.
    #[error("public and private keys don't match")]
    Mismatch,
    /// A file holds no key for the method.
    #[error("a key cannot be used with this method")]
    Key(#[source] jsonwebtoken::errors::Error),
}

/// Signs and checks tokens.
#[derive(Clone)]
pub struct Jwt {
    algorithm: Algorithm,
    /// None if this member only checks.
    signing: Option<Arc<EncodingKey>>,
    checking: Arc<DecodingKey>,
    validation: Arc<Validation>,
    ttl: Duration,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    username: String,
    /// A float in tokens that passed through other hands.
    revision: serde_json::Number,
    #[serde(default)]
    exp: Option<u64>,
}

impl Jwt {
    pub(super) fn new(method: &str, keys: &JwtKeys, ttl: Duration) -> Result<Self, JwtError> {
        let unknown = |_error| JwtError::Method(method.to_owned());
        let algorithm: Algorithm = method.parse().map_err(unknown)?;
        let family = family(algorithm);
        let private = keys.private.as_deref().filter(|bytes| !bytes.is_empty());
        let public = keys.public.as_deref().filter(|bytes| !bytes.is_empty());
        let signing = private.map(|bytes| signing(family, bytes)).transpose().map_err(JwtError::Key)?;
        let checking = match (&family, &signing, private, public) {
            (AlgorithmFamily::Hmac, _, Some(secret), _) => DecodingKey::from_secret(secret),
            (AlgorithmFamily::Hmac, ..) | (_, None, _, None) => return Err(JwtError::MissingKey),
            (family, _, _, Some(pem)) => checking(*family, pem).map_err(JwtError::Key)?,
            (_, Some(signing), _, None) => {
                let public = Jwk::from_encoding_key(signing, algorithm).map_err(JwtError::Key)?;
                DecodingKey::from_jwk(&public).map_err(JwtError::Key)?
            }
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let jwt = Self {
            algorithm,
            signing: signing.map(Arc::new),
            checking: Arc::new(checking),
            validation: Arc::new(validation),
            ttl,
        };
        if jwt.signing.is_some() {
            let probe = jwt.sign("", 0)?.unwrap_or_default();
            jwt.caller(&probe).ok_or(JwtError::Mismatch)?;
        }
        Ok(jwt)
    }

    /// A token for a user; none if this member has no key to sign with.
    pub(super) fn sign(&self, name: &str, auth_revision: u64) -> Result<Option<String>, JwtError> {
        let Some(signing) = &self.signing else { return Ok(None) };
        let exp = jsonwebtoken::get_current_timestamp().saturating_add(self.ttl.as_secs().max(1));
        let claims = Claims { username: name.to_owned(), revision: auth_revision.into(), exp: Some(exp) };
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, signing).map(Some).map_err(JwtError::Key)
    }

    /// Whom a token stands for; none if it is forged, expired, or of another method.
    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.checking, &self.validation).ok()?.claims;
        let revision = &claims.revision;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let auth_revision =
            revision.as_u64().or_else(|| revision.as_f64().map(|revision| revision as u64))?;
        Some(Caller::User { name: claims.username.into(), auth_revision })
    }
}

fn family(algorithm: Algorithm) -> AlgorithmFamily {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => AlgorithmFamily::Hmac,
        Algorithm::ES256 | Algorithm::ES384 => AlgorithmFamily::Ec,
        Algorithm::EdDSA => AlgorithmFamily::Ed,
        _ => AlgorithmFamily::Rsa,
    }
}

fn signing(family: AlgorithmFamily, key: &[u8]) -> Result<EncodingKey, jsonwebtoken::errors::Error> {
    match family {
        AlgorithmFamily::Hmac => Ok(EncodingKey::from_secret(key)),
        AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(key),
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(key),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(key),
    }
}

fn checking(family: AlgorithmFamily, key: &[u8]) -> Result<DecodingKey, jsonwebtoken::errors::Error> {
    match family {
        AlgorithmFamily::Hmac => Ok(DecodingKey::from_secret(key)),
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(key),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(key),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(key),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn keys(private: Option<&[u8]>, public: Option<&[u8]>) -> JwtKeys {
        JwtKeys { private: private.map(<[u8]>::to_vec), public: public.map(<[u8]>::to_vec) }
    }

    fn pair(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        (pair.serialize_pem(), pair.public_key_pem())
    }

    /// As OpenSSL writes it: PKCS#8 around 32 bytes.
    fn ed25519() -> String {
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend_from_slice(&[7; 32]);
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    fn alice() -> Caller {
        Caller::User { name: "alice".into(), auth_revision: 7 }
    }

    #[test]
    fn a_signed_token_stands_for_its_user() {
        let (ec_private, ec_public) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let edwards = ed25519();
        for (method, keys) in [
            ("HS256", keys(Some(b"secret"), None)),
            ("HS512", keys(Some(b"secret"), None)),
            ("ES256", keys(Some(ec_private.as_bytes()), Some(ec_public.as_bytes()))),
            ("ES256", keys(Some(ec_private.as_bytes()), None)),
            ("EdDSA", keys(Some(edwards.as_bytes()), None)),
        ] {
            let jwt = Jwt::new(method, &keys, TTL).unwrap();
            let token = jwt.sign("alice", 7).unwrap().unwrap();
            assert_eq!(jwt.caller(&token), Some(alice()), "{method}");
            let forged = format!("{}x", token.strip_suffix(|_: char| true).unwrap());
            assert_eq!(jwt.caller(&forged), None, "{method}");
        }
    }

    #[test]
    fn a_member_with_the_public_key_checks_but_does_not_sign() {
        let (private, public) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let signer = Jwt::new("ES256", &keys(Some(private.as_bytes()), None), TTL).unwrap();
        let checker = Jwt::new("ES256", &keys(None, Some(public.as_bytes())), TTL).unwrap();
        let token = signer.sign("alice", 7).unwrap().unwrap();
        assert_eq!(checker.caller(&token), Some(alice()));
        assert!(checker.sign("alice", 7).unwrap().is_none());
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        let (private, _) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let (_, other) = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
        let both = keys(Some(private.as_bytes()), Some(other.as_bytes()));
        assert!(matches!(Jwt::new("ES256", &both, TTL), Err(JwtError::Mismatch)));
        assert!(matches!(Jwt::new("RS256", &both, TTL), Err(JwtError::Key(_))));
        assert!(matches!(Jwt::new("ES256", &keys(None, None), TTL), Err(JwtError::MissingKey)));
        assert!(matches!(Jwt::new("ES512", &both, TTL), Err(JwtError::Method(_))));
    }

    #[test]
    fn a_token_of_another_method_or_time_is_refused() {
        let jwt = Jwt::new("HS256", &keys(Some(b"secret"), None), TTL).unwrap();
        let other = Jwt::new("HS384", &keys(Some(b"secret"), None), TTL).unwrap();
        assert_eq!(jwt.caller(&other.sign("alice", 7).unwrap().unwrap()), None);
        let claims = Claims { username: "alice".into(), revision: 7_u64.into(), exp: Some(1) };
        let key = EncodingKey::from_secret(b"secret");
        let old = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
        assert_eq!(jwt.caller(&old), None);
        assert_eq!(jwt.caller("no token"), None);
    }
}
