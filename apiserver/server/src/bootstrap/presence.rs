//! Which API servers of the cluster live: each keeps a key with a lease in the store, as upstream's `masterleases`. A server
//! that dies is gone from the list when its lease is over; one that stops takes its key away itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mainstay_store::{
    LeaseError, LeaseId, PutRequest, RangeError, RangeRequest, Store, WatchError, WatchRequest, WriteError,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backing::Backing;

const ROOT: &str = "/mainstay/servers/";
/// A server that falls silent is listed for so long. Upstream has 15 s; a keep-alive here writes nothing.
const LEASE: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_millis(1500);
const RETRY: Duration = Duration::from_millis(500);
/// How long a server that stops tries to say so.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// What the store refused.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    /// The lease.
    #[error("granting the lease of this server")]
    Lease(#[from] LeaseError),
    /// The key.
    #[error("writing the key of this server")]
    Write(#[from] WriteError),
    /// The list.
    #[error("reading the servers of the cluster")]
    Read(#[from] RangeError),
    /// The news.
    #[error("following the servers of the cluster")]
    Follow(#[from] WatchError),
}

/// This server among the others. Over a remote store it knows of no others.
pub struct Presence {
    place: Option<Place>,
    live: watch::Sender<BTreeSet<SocketAddr>>,
}

/// A server's key in the store of its own process.
struct Place {
    store: Store,
    server: SocketAddr,
    lease: LeaseId,
}

impl Presence {
    /// Announces the server that is reached at `server`, and lists all that live.
    ///
    /// # Errors
    /// [`PresenceError`].
    pub async fn announce(store: &Backing, server: SocketAddr) -> Result<Self, PresenceError> {
        let Backing::Embedded(store) = store else {
            return Ok(Self { place: None, live: watch::Sender::new(BTreeSet::from([server])) });
        };
        let lease = register(store, server).await?;
        let place = Place { store: store.clone(), server, lease };
        let presence = Self { place: Some(place), live: watch::Sender::new(BTreeSet::new()) };
        presence.list(store).await?;
        Ok(presence)
    }

    /// The servers that live, this one included, now and from now on.
    pub fn live(&self) -> watch::Receiver<BTreeSet<SocketAddr>> {
        self.live.subscribe()
    }

    /// Whether no other server can be using the store.
    pub fn is_alone(&self) -> bool {
        self.place.is_some() && self.live.borrow().len() < 2
    }

    /// Stays in the list, and keeps it, until `stop`.
    ///
    /// # Errors
    /// The store is closed, or halted.
    pub async fn run(self, stop: CancellationToken) -> Result<(), PresenceError> {
        let Some(Place { store, server, lease }) = &self.place else {
            stop.cancelled().await;
            return Ok(());
        };
        let lease = watch::Sender::new(*lease);
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            () = keep_alive(store, *server, &lease) => Ok(()),
            ended = self.follow(store) => ended,
        };
        let last = *lease.borrow();
        if tokio::time::timeout(LEAVE_MAX, store.lease_revoke(last)).await.is_err() {
            info!("this server did not take itself from the list: its lease ends by itself");
        }
        ended
    }

    async fn follow(&self, store: &Store) -> Result<(), PresenceError> {
        loop {
            let revision = self.list(store).await?;
            let request =
                WatchRequest::prefix(Bytes::from_static(ROOT.as_bytes())).starting_at(revision.next());
            let mut changes = store.watch(request).await;
            loop {
                match changes.next().await {
                    Ok(_batch) => drop(self.list(store).await?),
                    Err(WatchError::Compacted { .. }) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    async fn list(&self, store: &Store) -> Result<mainstay_store::Revision, PresenceError> {
        // Of this member's own copy: without a quorum the list stays as it is, and a change is followed anyway.
        let request =
            RangeRequest { serializable: true, ..RangeRequest::prefix(Bytes::from_static(ROOT.as_bytes())) };
        let found = store.range(request).await?;
        let servers: BTreeSet<SocketAddr> = found
            .kvs
            .iter()
            .filter_map(|kv| std::str::from_utf8(kv.key.get(ROOT.len()..)?).ok()?.parse().ok())
            .collect();
        self.live.send_if_modified(|live| {
            let changed = *live != servers;
            if changed {
                info!(?servers, "API servers of the cluster");
                *live = servers;
            }
            changed
        });
        Ok(found.revision)
    }
}

async fn register(store: &Store, server: SocketAddr) -> Result<LeaseId, PresenceError> {
    let lease = store.lease_grant(LEASE, None).await?.id;
    let key = Bytes::from(format!("{ROOT}{server}"));
    store.put_with(PutRequest { lease, ..PutRequest::new(key, Bytes::new()) }).await?;
    Ok(lease)
}

/// Renews for ever; a lease that ended meanwhile is replaced.
async fn keep_alive(store: &Store, server: SocketAddr, lease: &watch::Sender<LeaseId>) {
    let mut pause = KEEP_ALIVE;
    loop {
        tokio::time::sleep(pause).await;
        let present = *lease.borrow();
        let kept = match store.lease_keep_alive(present).await {
            Err(LeaseError::NotFound(_)) => register(store, server).await.map(|new| {
                lease.send_replace(new);
            }),
            other => other.map(drop).map_err(PresenceError::from),
        };
        pause = match kept {
            Ok(()) => KEEP_ALIVE,
            Err(error) => {
                warn!(%error, "this server's place in the list was not renewed");
                RETRY
            }
        };
    }
}
