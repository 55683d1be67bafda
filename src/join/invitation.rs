//! Where to join, and with what: `--join` and `--token`.

use std::net::SocketAddr;

use crate::refusal::refuse;

/// Where to join, and with what.
pub(crate) struct Invitation {
    /// A server of the cluster.
    pub(crate) server: SocketAddr,
    /// The token.
    pub(crate) token: crate::token::JoinToken,
}

impl Invitation {
    /// What `--join` and `--token` say.
    ///
    /// # Errors
    /// Neither a URL nor a token, with what one looks like.
    pub(crate) fn parse(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let wrong =
            || refuse(format!("--join {url:?} must be the URL of a server, such as https://192.0.2.1:6443"));
        let rest = url.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        let server =
            rest.parse().or_else(|_no_port| format!("{rest}:6443").parse()).map_err(|_none| wrong())?;
        let token = token.ok_or_else(|| {
            refuse(
                "--join needs --token (or MAINSTAY_TOKEN): make one with `mainstay token create` on a server",
            )
        })?;
        Ok(Self { server, token: token.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_names_a_server_and_a_token() {
        let token = format!("{}.abc123.0123456789abcdef", "0".repeat(64));
        let server = |url: &str| Invitation::parse(url, Some(&token)).map(|found| found.server.to_string());
        assert_eq!(server("https://192.0.2.1:7000").unwrap(), "192.0.2.1:7000");
        assert_eq!(server("https://192.0.2.1/").unwrap(), "192.0.2.1:6443");
        assert!(server("192.0.2.1").is_err() && server("https://host:1").is_err());
        assert!(Invitation::parse("https://192.0.2.1", None).is_err());
        assert!(Invitation::parse("https://192.0.2.1", Some("abc")).is_err());
    }
}
