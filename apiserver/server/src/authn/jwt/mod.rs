//! Tokens of other issuers (OIDC): who may issue them, and how their claims become a user, as an
//! `AuthenticationConfiguration` says.
//!
//! Claims are looked at only after the signature held, and keys are fetched only from the issuer that the configuration
//! names: nothing in a token leads the server anywhere.

mod authenticator;
mod config;
mod config_file;
mod keys;
mod mapping;
#[cfg(test)]
mod tests;

pub use authenticator::{JwtAuthenticator, JwtError};
pub use config::{AuthenticationConfig, AuthenticationConfigError};
