//! The name of a server that joins, kept for it from its first question until it has started: of two that join under one name at once,
//! through whichever servers, one gets it, and the other hears of that before anything is done.

use std::time::Duration;

use anyhow::Context as _;
use mainstay_store::{Compare, KeyValue, LeaseId, PutRequest, RangeRequest, Store, Txn};
use tokio_util::bytes::Bytes;

/// Each name is a key below, with the peer URL of who has it, for as long as its lease lives.
const CLAIMS: &str = "/mainstay/joining/";
/// Longer than a join takes. One that was given up keeps its name for so long.
const KEPT: Duration = Duration::from_secs(60);
/// A claim may end between two looks.
const TRIES_MAX: usize = 5;

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Whoever asked, until the lease ends.
    Own(LeaseId),
    /// The server that joins at this URL.
    Other(String),
}

/// Claims a name for the server at `peer_url`, which may have it already.
///
/// # Errors
/// The store's.
pub(super) async fn claim(store: &Store, name: &str, peer_url: &str) -> anyhow::Result<Claim> {
    let key = Bytes::from(format!("{CLAIMS}{name}"));
    for _try in 0..TRIES_MAX {
        let held = store.range(RangeRequest::key(key.clone())).await.context("reading who has the name")?;
        if let Some(held) = held.kvs.first() {
            return Ok(of(held, peer_url));
        }
        let lease = store.lease_grant(KEPT, None).await.context("claiming the name")?.id;
        let put = PutRequest { lease, ..PutRequest::new(key.clone(), peer_url.to_owned()) };
        let txn = Txn::when([Compare::absent(key.clone())]).then([put]);
        if store.txn(txn).await.context("claiming the name")?.succeeded {
            return Ok(Claim::Own(lease));
        }
        store.lease_revoke(lease).await.context("claiming the name")?;
    }
    anyhow::bail!("the name {name} is claimed again and again: try again")
}

/// Gives up the claims of a name or of a peer URL.
///
/// # Errors
/// The store's; they end by themselves then.
pub(super) async fn give_up(store: &Store, name: &str, peer_urls: &[String]) -> anyhow::Result<()> {
    let all = RangeRequest::prefix(Bytes::from_static(CLAIMS.as_bytes()));
    let held = store.range(all).await.context("reading which names are claimed")?;
    let is_meant = |held: &&KeyValue| {
        held.key.get(CLAIMS.len()..) == Some(name.as_bytes())
            || peer_urls.iter().any(|url| held.value == *url)
    };
    for held in held.kvs.iter().filter(is_meant) {
        store.lease_revoke(held.lease).await.context("giving up the claim of a name")?;
    }
    Ok(())
}

fn of(held: &KeyValue, peer_url: &str) -> Claim {
    if held.value == peer_url {
        Claim::Own(held.lease)
    } else {
        Claim::Other(String::from_utf8_lossy(&held.value).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use mainstay_store::Config;

    use super::*;

    #[tokio::test]
    async fn one_of_those_that_claim_a_name_at_once_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Config { dir: dir.path().join("store"), ..Config::default() }).await.unwrap();
        let urls: Vec<String> = (1..=8).map(|number| format!("https://192.0.2.{number}:2380")).collect();
        let claims = urls.iter().map(|url| claim(&store, "twin", url));
        let claims = futures::future::try_join_all(claims).await.unwrap();
        let won: Vec<usize> = (0..8).filter(|at| matches!(claims[*at], Claim::Own(_))).collect();
        let [won] = won[..] else { panic!("one wins: {claims:?}") };
        for (at, claim) in claims.iter().enumerate() {
            assert!(at == won || *claim == Claim::Other(urls[won].clone()), "{claims:?}");
        }
        assert_eq!(claim(&store, "twin", &urls[won]).await.unwrap(), claims[won], "it keeps it");
        assert_eq!(store.leases().await.unwrap().len(), 1, "nothing is left of the others");

        let lost = &urls[(won + 1) % 8];
        assert!(matches!(claim(&store, "another", lost).await.unwrap(), Claim::Own(_)));
        give_up(&store, "", std::slice::from_ref(&urls[won])).await.unwrap();
        assert!(matches!(claim(&store, "twin", lost).await.unwrap(), Claim::Own(_)));
        give_up(&store, "twin", &[]).await.unwrap();
        assert!(matches!(claim(&store, "twin", &urls[won]).await.unwrap(), Claim::Own(_)));
        assert_eq!(claim(&store, "another", &urls[won]).await.unwrap(), Claim::Other(lost.clone()));
        store.close().await.unwrap();
    }
}
