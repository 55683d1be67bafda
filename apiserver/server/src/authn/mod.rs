//! Who is calling: client certificates, tokens of several kinds, front proxies, anonymous callers and impersonation.
//!
//! The decision parts (claims, chains, header parsing) are pure and take the time as an argument; only
//! [`Authenticator`] reads live objects. Keys and answers are fetched only from where the configuration says.

pub mod anonymous;
pub mod authenticator;
pub mod bearer;
pub mod bootstrap_token;
pub mod certificate;
pub mod discovery;
pub mod front_proxy;
pub mod impersonation;
pub mod impersonation_modes;
pub mod jwt;
pub mod service_account;
pub mod static_tokens;
pub mod token;
pub mod user;
pub mod webhook_token;

pub use authenticator::{Authenticator, AuthenticatorConfig, CredentialError};
pub use token::{SigningKeys, TokenIssuer};
