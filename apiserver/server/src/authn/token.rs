//! Service account tokens: signing and verifying JWTs (RFC 7519) with keys this server was given.
//!
//! The algorithm follows from the key, never from the token: a header that names another algorithm, an unknown
//! key id, or critical extensions is refused, and no header can make the server fetch anything.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};

/// How far another server's clock may be ahead of ours when it starts a token's life, in seconds.
const NOT_BEFORE_LEEWAY_SECS: i64 = 5;
/// How many verified signatures are remembered.
const VERIFIED_MAX: usize = 4096;

/// Name and uid of an object that a token names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The object's name.
    pub name: String,
    /// The object's uid at the time the token was issued.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The claims under `kubernetes.io`: whose token it is and what it is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// The service account's namespace, also of the pod or secret it is bound to.
    #[serde(default)]
    pub namespace: String,
    /// The node the token is bound to, or the node of the pod it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ObjectRef>,
    /// The pod the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectRef>,
    /// The secret the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectRef>,
    /// The service account.
    #[serde(default)]
    pub serviceaccount: ObjectRef,
}

/// The claims of a service account token. Times are in Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who may accept the token.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// When the token ends.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// Who issued it.
    pub iss: String,
    /// The token's own id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// What Kubernetes adds.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    /// When it begins to hold.
    pub nbf: i64,
    /// The user name of the service account.
    pub sub: String,
}

/// Why a token does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three base64url parts with a JSON header.
    #[error("the token is not a signed JWT")]
    Malformed,
    /// The header asks for something this server does not do.
    #[error("the token's header is not acceptable: {0}")]
    Header(&'static str),
    /// No key of this server made the signature.
    #[error("no key of this server verifies the token's signature")]
    Signature,
    /// Another issuer's token.
    #[error("the token's issuer {0:?} is not this cluster's")]
    Issuer(String),
    /// The token's time is over.
    #[error("the token has expired")]
    Expired,
    /// The token's time has not come.
    #[error("the token is not valid yet")]
    NotYet,
    /// The token is for other audiences.
    #[error("token audiences {held:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        /// The token's audiences.
        held: Vec<String>,
        /// Those that would do.
        wanted: Vec<String>,
    },
    /// The claims are missing or contradict each other.
    #[error("the token's claims are not those of a service account: {0}")]
    Claims(&'static str),
}

/// A key that cannot be used for service account tokens.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither an EC P-256 nor an RSA key in PEM.
    #[error("reading a service account key: {0}")]
    Parse(jsonwebtoken::errors::Error),
    /// An elliptic curve other than P-256.
    #[error("service account keys are RSA or EC P-256, this is another curve")]
    Curve,
}

struct VerifyingKey {
    id: String,
    algorithm: Algorithm,
    decoding: DecodingKey,
    jwk: Jwk,
}

/// The keys of the service account issuer: one that signs, all that verify.
pub struct SigningKeys {
    signing: EncodingKey,
    signing_id: String,
    algorithm: Algorithm,
    verifying: Vec<VerifyingKey>,
    verified: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SigningKeys").field("signing_id", &self.signing_id).finish_non_exhaustive()
    }
}

impl SigningKeys {
    /// Signs with `private_pem` (PKCS #8, RSA or EC P-256) and verifies with its public half and with
    /// `older_public_pems`, the keys before it in a rotation.
    pub fn new(private_pem: &[u8], older_public_pems: &[&[u8]]) -> Result<Self, KeyError> {
        let (signing, algorithm) = match EncodingKey::from_ec_pem(private_pem) {
            Ok(key) => (key, Algorithm::ES256),
            Err(_) => (EncodingKey::from_rsa_pem(private_pem).map_err(KeyError::Parse)?, Algorithm::RS256),
        };
        let own = Jwk::from_encoding_key(&signing, algorithm).map_err(KeyError::Parse)?;
        let mut verifying = vec![verifying_key(own, algorithm)?];
        for pem in older_public_pems {
            let (key, algorithm) = match DecodingKey::from_ec_pem(pem) {
                Ok(key) => (key, Algorithm::ES256),
                Err(_) => (DecodingKey::from_rsa_pem(pem).map_err(KeyError::Parse)?, Algorithm::RS256),
            };
            let jwk = Jwk::from_decoding_key(&key, Some(algorithm)).map_err(KeyError::Parse)?;
            verifying.push(verifying_key(jwk, algorithm)?);
        }
        let signing_id = verifying.first().map(|key| key.id.clone()).unwrap_or_default();
        Ok(Self { signing, signing_id, algorithm, verifying, verified: Mutex::new(HashMap::new()) })
    }

    /// The public keys, as the issuer's JWKS document holds them.
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.verifying.iter().map(|key| key.jwk.clone()).collect() }
    }

    /// The names of the algorithms of the public keys, sorted.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.verifying.iter().map(|key| algorithm_name(key.algorithm)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Signs the claims.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        let mut header = Header::new(self.algorithm);
        header.typ = None;
        header.kid = Some(self.signing_id.clone());
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(KeyError::Parse)
    }

    /// Checks the signature alone and returns the claims. A signature that held once is remembered.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(claims) = self.verified.lock().get(&digest) {
            return Ok(Arc::clone(claims));
        }
        let claims = Arc::new(self.verify_signature(token)?);
        let mut verified = self.verified.lock();
        if verified.len() >= VERIFIED_MAX {
            verified.clear();
        }
        verified.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }

    fn verify_signature(&self, token: &str) -> Result<Claims, TokenError> {
        let header = parse_header(token)?;
        if header.crit.is_some() {
            return Err(TokenError::Header("critical extensions"));
        }
        let candidates =
            self.verifying.iter().filter(|key| header.kid.as_ref().is_none_or(|id| *id == key.id));
        let mut known = false;
        for key in candidates {
            known = true;
            if algorithm_name(key.algorithm) != header.alg {
                continue;
            }
            let mut validation = Validation::new(key.algorithm);
            validation.validate_exp = false;
            validation.validate_aud = false;
            validation.required_spec_claims.clear();
            match jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) => {
                    return Err(TokenError::Claims("a required claim is missing or of another type"));
                }
                Err(_) => {}
            }
        }
        Err(if known { TokenError::Signature } else { TokenError::Header("unknown key id") })
    }
}

/// The header fields that matter; all others are ignored, above all those that name keys by URL.
#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

fn parse_header(token: &str) -> Result<RawHeader, TokenError> {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Malformed);
    };
    let bytes = URL_SAFE_NO_PAD.decode(header).map_err(|_decode| TokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_parse| TokenError::Malformed)
}

/// The unverified issuer of a token: which authenticator it is for. Never a reason to trust it.
pub fn unverified_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let payload = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Issuer>(&bytes).ok().map(|payload| payload.iss)
}

/// What the issuer accepts: its own names and its default audiences.
#[derive(Debug)]
pub struct TokenIssuer {
    /// The first signs new tokens, all are accepted.
    pub issuers: Vec<String>,
    /// The audiences of this server.
    pub audiences: Vec<String>,
    /// The keys.
    pub keys: SigningKeys,
}

impl TokenIssuer {
    /// The issuer name in new tokens.
    pub fn issuer(&self) -> &str {
        self.issuers.first().map_or("", String::as_str)
    }

    /// Checks signature, issuer, times and audiences (those wanted, else this server's), and returns the claims
    /// with the audiences that are both wanted and held. `now` is in Unix seconds.
    pub fn verify(
        &self,
        token: &str,
        wanted: &[String],
        now: i64,
    ) -> Result<(Arc<Claims>, Vec<String>), TokenError> {
        let issuer = unverified_issuer(token).ok_or(TokenError::Malformed)?;
        if !self.issuers.contains(&issuer) {
            return Err(TokenError::Issuer(issuer));
        }
        let claims = self.keys.verify(token)?;
        check_times(&claims, now)?;
        check_subject(&claims)?;
        let wanted = if wanted.is_empty() { &self.audiences } else { wanted };
        let held: Vec<String> =
            wanted.iter().filter(|audience| claims.aud.contains(audience)).cloned().collect();
        if held.is_empty() {
            return Err(TokenError::Audience { held: claims.aud.clone(), wanted: wanted.to_vec() });
        }
        Ok((claims, held))
    }
}

fn check_times(claims: &Claims, now: i64) -> Result<(), TokenError> {
    if now >= claims.exp {
        return Err(TokenError::Expired);
    }
    if claims.nbf > now.saturating_add(NOT_BEFORE_LEEWAY_SECS)
        || claims.iat > now.saturating_add(NOT_BEFORE_LEEWAY_SECS)
    {
        return Err(TokenError::NotYet);
    }
    Ok(())
}

fn check_subject(claims: &Claims) -> Result<(), TokenError> {
    let named = super::user::split_service_account(&claims.sub).ok_or(TokenError::Claims("the subject"))?;
    let told = (claims.kubernetes.namespace.as_str(), claims.kubernetes.serviceaccount.name.as_str());
    if named != told {
        return Err(TokenError::Claims("the subject is not the named service account"));
    }
    Ok(())
}

fn verifying_key(mut jwk: Jwk, algorithm: Algorithm) -> Result<VerifyingKey, KeyError> {
    if let AlgorithmParameters::EllipticCurve(curve) = &jwk.algorithm
        && curve.curve != EllipticCurve::P256
    {
        return Err(KeyError::Curve);
    }
    let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(KeyError::Parse)?;
    jwk.common.key_id = Some(id.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    let decoding = DecodingKey::from_jwk(&jwk).map_err(KeyError::Parse)?;
    Ok(VerifyingKey { id, algorithm, decoding, jwk })
}

fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "ES256",
        Algorithm::RS256 => "RS256",
        _ => "",
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(audience) => vec![audience],
        Audience::Many(audiences) => audiences,
    })
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
