//! A data directory that is some cluster's already, and a token that says which cluster is meant: they must agree. Otherwise a machine that was
//! to join would go on as what it was, and nobody would notice.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;

use super::Invitation;
use crate::authority::known_authorities;
use crate::refusal::refuse;

/// Refuses a token of another cluster than that of the directory. `--join` and `--token` may stay in the settings of a machine that joined long ago, and
/// workers do not know all authorities that their cluster had: a server that they know counts too.
///
/// # Errors
/// A refusal; or the disk's.
pub(crate) fn check_same_cluster(
    data_dir: &Path,
    join: Option<&str>,
    token: Option<&str>,
    servers: &[SocketAddr],
) -> anyhow::Result<()> {
    let given = join.zip(token).and_then(|(url, token)| Invitation::parse(url, Some(token)).ok());
    let Some(invitation) = given else { return Ok(()) }; // it is not looked at otherwise
    let known =
        known_authorities(&data_dir.join("pki")).context("looking which cluster the directory is of")?;
    let token = invitation.token.to_string();
    let pin = token.split('.').next().unwrap_or_default(); // in the form that authorities are compared in
    if known.is_empty() || known.iter().any(|known| known == pin) || servers.contains(&invitation.server) {
        return Ok(());
    }
    Err(refuse(format!(
        "{} is that of a machine of another cluster than the token is of: join with an empty --data-dir; or leave --join and --token out, and \
         the machine is what it was",
        data_dir.display()
    )))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_base::pki::Ca;
    use time::OffsetDateTime;

    use super::*;
    use crate::token::JoinToken;

    #[test]
    fn a_token_of_another_cluster_is_refused_and_one_of_before_the_authority_was_exchanged_is_not() {
        let make = |name| Ca::generate(name, OffsetDateTime::now_utc(), Duration::from_secs(3600)).unwrap();
        let (own, before, other) = (make("own"), make("before"), make("other"));
        let token = |ca: &Ca| JoinToken::generate(ca.certificate_pem()).unwrap().to_string();
        let dir = tempfile::tempdir().unwrap();
        let server: SocketAddr = "192.0.2.1:6443".parse().unwrap();
        let check = |ca: &Ca, servers: &[SocketAddr]| {
            check_same_cluster(dir.path(), Some("https://192.0.2.1"), Some(&token(ca)), servers)
        };
        check(&other, &[]).unwrap(); // nothing was made here yet
        let pki = dir.path().join("pki");
        std::fs::create_dir(&pki).unwrap();
        std::fs::write(pki.join("ca.crt"), own.certificate_pem()).unwrap();
        std::fs::write(
            pki.join("former-authorities"),
            mainstay_base::pki::pins(before.certificate_pem()).unwrap().concat(),
        )
        .unwrap();
        check(&own, &[]).unwrap();
        check(&before, &[]).unwrap();
        let why = check(&other, &[]).unwrap_err().to_string();
        assert!(why.contains("of another cluster than the token is of"), "{why}");
        check(&other, &[server]).unwrap();
        check_same_cluster(dir.path(), Some("https://192.0.2.1"), None, &[]).unwrap();
    }
}
