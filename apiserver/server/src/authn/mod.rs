//! Who is calling: client certificates, service account tokens, anonymous callers and impersonation.
//!
//! The decision parts (claims, chains, header parsing) are pure and take the time as an argument; only
//! [`Authenticator`] reads live objects. It never fetches a key or a document from the network.

pub mod anonymous;
pub mod authenticator;
pub mod bearer;
pub mod certificate;
pub mod discovery;
pub mod impersonation;
pub mod service_account;
pub mod token;
pub mod user;

pub use authenticator::{Authenticator, AuthenticatorConfig, CredentialError};
pub use token::{SigningKeys, TokenIssuer};
