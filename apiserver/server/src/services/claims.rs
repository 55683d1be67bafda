//! Claims in the store: one key per address or port, made and given up by guarded transactions.

use std::net::IpAddr;

use bytes::Bytes;
use futures::StreamExt as _;
use mainstay_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, Op, PutRequest, RangeRequest, Revision, Txn,
};

use crate::backing::{Backing, BackingError};

const ROOT: &str = "/mainstay/service-claims/";

/// A value that at most one Service holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// A cluster address.
    Address(IpAddr),
    /// A node port.
    NodePort(u16),
}

impl Claim {
    fn key(self) -> Bytes {
        match self {
            Self::Address(address) => format!("{ROOT}addresses/{address}").into(),
            Self::NodePort(port) => format!("{ROOT}node-ports/{port}").into(),
        }
    }

    fn from_key(key: &[u8]) -> Option<Self> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
        match rest.split_once('/')? {
            ("addresses", address) => address.parse().ok().map(Self::Address),
            ("node-ports", port) => port.parse().ok().map(Self::NodePort),
            _ => None,
        }
    }
}

/// The store refused a claim for reasons of its own.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// A claim was not written.
    #[error("writing a claim for a service address or port")]
    Write(#[source] BackingError),
    /// Claims were not read.
    #[error("reading the claims of service addresses and ports")]
    Read(#[source] BackingError),
}

/// The claims of the cluster.
#[derive(Clone)]
pub struct Claims {
    store: Backing,
}

impl Claims {
    /// The claims in `store`.
    pub fn new(store: Backing) -> Self {
        Self { store }
    }

    /// Takes a value for `owner`; false if somebody holds it.
    pub async fn take(&self, claim: Claim, owner: &str) -> Result<bool, ClaimsError> {
        let key = claim.key();
        let put = PutRequest::new(key.clone(), Bytes::copy_from_slice(owner.as_bytes()));
        let txn = Txn::when([Compare::absent(key)]).then([put]);
        Ok(self.store.txn(txn).await.map_err(ClaimsError::Write)?.succeeded)
    }

    /// Gives up a claim that `owner` holds; false if somebody else holds it or nobody does.
    pub async fn give_up(&self, claim: Claim, owner: &str) -> Result<bool, ClaimsError> {
        let key = claim.key();
        let compare = Compare::value(key.clone(), Bytes::copy_from_slice(owner.as_bytes()));
        self.delete_when(vec![compare], key).await
    }

    /// Gives up a claim that was made before `revision`; false if it is newer or there is none.
    pub async fn give_up_older(&self, claim: Claim, revision: Revision) -> Result<bool, ClaimsError> {
        let key = claim.key();
        let exists = Compare::new(key.clone(), CompareTarget::Create(Revision(0)), CompareOp::Greater);
        let older = Compare::new(key.clone(), CompareTarget::Mod(revision), CompareOp::Less);
        self.delete_when(vec![exists, older], key).await
    }

    /// Every claim.
    pub async fn list(&self) -> Result<Vec<Claim>, ClaimsError> {
        let mut claims = Vec::new();
        let mut pages = std::pin::pin!(
            self.store.range_stream(RangeRequest::prefix(Bytes::from_static(ROOT.as_bytes())))
        );
        while let Some(page) = pages.next().await {
            let page = page.map_err(ClaimsError::Read)?;
            claims.extend(page.kvs.iter().filter_map(|kv| Claim::from_key(&kv.key)));
        }
        Ok(claims)
    }

    /// Gives up a claim, whoever holds it.
    pub async fn drop_claim(&self, claim: Claim) -> Result<(), ClaimsError> {
        self.store.delete_range(DeleteRangeRequest::key(claim.key())).await.map_err(ClaimsError::Write)?;
        Ok(())
    }

    async fn delete_when(&self, compare: Vec<Compare>, key: Bytes) -> Result<bool, ClaimsError> {
        let txn = Txn::when(compare).then([Op::from(DeleteRangeRequest::key(key))]);
        Ok(self.store.txn(txn).await.map_err(ClaimsError::Write)?.succeeded)
    }
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Claims").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_claims() {
        for claim in [
            Claim::Address("10.96.0.1".parse().unwrap()),
            Claim::Address("fd00::1".parse().unwrap()),
            Claim::NodePort(30080),
        ] {
            assert_eq!(Claim::from_key(&claim.key()), Some(claim));
        }
        assert_eq!(Claim::from_key(b"/mainstay/service-claims/other/1"), None);
    }
}
