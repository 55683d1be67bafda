//! What all services share: the store, who may use it, and the header of every answer.
use std::sync::Arc;

use mainstay_proto_wire::etcd::etcdserverpb as pb;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::access::{Credentials, Need, acting};
use super::pace::{Pace, Told};
use super::{FaceConfig, refusal};
use crate::Store;
use crate::api::{Leadership, Revision};

/// After so many election timeouts without a leader, streams that need one end.
const LEADERLESS_ELECTIONS: u32 = 3;

/// Shared by all services of one server.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) store: Store,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) config: FaceConfig,
    pub(crate) pace: Arc<Pace>,
    /// Cancelled when the server stops: streams end then.
    pub(crate) stop: CancellationToken,
}

impl Face {
    /// The header of an answer that names its own revision.
    #[allow(clippy::unnecessary_wraps, reason = "the field of every answer is optional")]
    pub(crate) fn header(&self, revision: Revision) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            cluster_id: self.store.cluster_id(),
            member_id: self.store.member_id(),
            revision: revision.0,
            raft_term: self.leadership.borrow().term,
        })
    }

    /// The header of an answer that has no revision of its own.
    pub(crate) fn current_header(&self) -> Option<pb::ResponseHeader> {
        self.header(self.store.revision())
    }

    /// Whether a leader is known.
    pub(crate) fn has_leader(&self) -> bool {
        self.leadership.borrow().leader.is_some()
    }

    /// Whether this member has no vote, and so answers little.
    pub(crate) fn is_learner(&self) -> bool {
        self.leadership.borrow().is_learner
    }

    /// Resolves when no leader has been known for long: streams that need one end then.
    pub(crate) async fn leader_lost(&self) {
        let mut leadership = self.leadership.clone();
        loop {
            // The sender lives as long as the store, and the server stops with that.
            drop(leadership.wait_for(|leadership| leadership.leader.is_none()).await);
            let found = leadership.wait_for(|leadership| leadership.leader.is_some());
            if tokio::time::timeout(LEADERLESS_ELECTIONS * self.config.election_timeout, found).await.is_err()
            {
                return;
            }
        }
    }

    /// Takes a request in: the store as its sender may use it, if it can be served now.
    ///
    /// # Errors
    /// `no leader`, if the client asked (by the metadata `hasleader`) not to be served without one; credentials that are not good.
    pub(crate) fn admit<'f, T>(
        &'f self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<Store, Status>> + Send + use<'f, T> {
        // What is awaited does not hold the request: the body of some cannot be shared between threads.
        let who = self.credentials(request);
        async move { self.acting(&who?).await }
    }

    /// Takes in a request whose stream may outlive an identity: each of its messages is then [`Face::acting`] anew.
    ///
    /// # Errors
    /// `no leader`, if the client asked not to be served without one.
    pub(crate) fn credentials<T>(&self, request: &Request<T>) -> Result<Credentials, Status> {
        if asks_for_leader(request) && !self.has_leader() {
            return Err(refusal::NO_LEADER.into());
        }
        Ok(Credentials::of(request))
    }

    /// The store as the sender of a request may use it.
    ///
    /// # Errors
    /// Credentials that are not good.
    pub(crate) async fn acting(&self, who: &Credentials) -> Result<Store, Status> {
        acting(&self.store, &self.config.auth_tokens, who).await
    }

    /// Waits for `work`, or for the end of the server.
    pub(crate) async fn until_stop<T>(
        &self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(refusal::STOPPED.into()),
            done = work => done, // whoever waits changes nothing
        }
    }

    /// Waits until what a write answered may be told: watchers may be far behind.
    pub(crate) async fn pace(&self) {
        self.pace.hold(self.told()).await;
    }

    /// How far the store is, and how far watchers have been told.
    pub(crate) fn told(&self) -> Told {
        let announced = self.store.core().hub.announced();
        Told { newest: self.store.revision(), announced }
    }

    /// [`Face::admit`] for requests that need more than the store checks.
    pub(crate) fn admit_for<'f, T>(
        &'f self,
        request: &Request<T>,
        need: Need,
    ) -> impl Future<Output = Result<Store, Status>> + Send + use<'f, T> {
        let admitted = self.admit(request);
        async move {
            let store = admitted.await?;
            need.check(&store)?;
            Ok(store)
        }
    }
}

/// Whether a client wants an error rather than to wait without a leader.
pub(crate) fn asks_for_leader<T>(request: &Request<T>) -> bool {
    request.metadata().get("hasleader").is_some_and(|value| value.as_bytes() == b"true")
}
