//! The cluster's own certificate authority and the leaves that it signs.

mod authority;
mod bundle;
mod expiry;
mod request;
mod validity;

pub use authority::{Ca, Leaf, LeafRequest, PkiError, SubjectName, Usage, generate_key_pem};
pub use bundle::{issuer, pins};
pub use expiry::{covers, not_after};
pub use request::{SigningRequest, public_key_sha256};
pub use validity::{Facts, facts};
