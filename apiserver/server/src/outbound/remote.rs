//! [`Remote`]: where a service is and what is shown to it.

use crate::config::PemPair;

/// One service, and what is shown to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// `https://host[:port][/path]`.
    pub url: String,
    /// Whom its certificate must be signed by, PEM; none for the machine's own authorities.
    pub ca_pem: Option<Vec<u8>>,
    /// The name its certificate must have, where it is not the URL's.
    pub server_name: Option<String>,
    /// The certificate to show.
    pub identity: Option<PemPair>,
    /// The token to send.
    pub bearer_token: Option<String>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}
