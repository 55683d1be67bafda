//! What clients send to members and get back. It stands for a protocol: what counts is when things arrive, or that they do not.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_store::{
    ClusterError, CompactError, LeaseError, LeaseId, Member, RangeError, Revision, Store, WatchBatch,
    WatchError, WatchRequest, WriteError,
};
use tokio::sync::{mpsc, oneshot};

use super::host::Desk;
use super::net::{HostId, Net};
use super::peers::{host_of, peer_url};
use crate::check::{Answer, Request};

/// So many batches of a watch wait for the client.
const BATCHES_MAX: usize = 4096;

/// Anything that a client asks.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Of keys.
    Keys(Request),
    /// Make this revision the oldest.
    Compact(Revision),
    /// Grant a lease.
    Grant(LeaseId, Duration),
    /// Keep it alive.
    KeepAlive(LeaseId),
    /// End it.
    Revoke(LeaseId),
    /// Tell who is a member.
    Members,
    /// Add the member of this machine.
    Add {
        /// Its machine.
        host: HostId,
        /// It gets no vote.
        learner: bool,
    },
    /// Give this learner a vote.
    Promote(u64),
    /// Remove this member.
    Remove(u64),
}

/// A member of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberOf {
    /// The machine that it runs on.
    pub host: HostId,
    /// Its identifier.
    pub id: u64,
    /// It has no vote.
    pub is_learner: bool,
}

/// What a member answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To a request for keys.
    Keys(Answer),
    /// The members.
    Members(Vec<MemberOf>),
    /// To anything else: it is done.
    Done,
    /// It is not done, and will not be.
    Refused(String),
    /// There is no such lease.
    NoLease,
    /// Nobody knows.
    Unknown(String),
}

/// The clients' end of the network.
#[derive(Clone, Debug)]
pub struct Wire {
    net: Net<Desk>,
    own: HostId,
    /// Clients notice at different times that a connection is broken, each after its own: else the order in which a dead process' connections
    /// end would show.
    reaction: Duration,
}

/// A watch as the client has it.
#[derive(Debug)]
pub struct Stream {
    /// The member's revision when it opened the watch; then batches, or the reason of the end.
    pub items: mpsc::Receiver<Item>,
    gone: Arc<AtomicBool>,
}

/// What a watch delivers.
#[derive(Clone, Debug)]
pub enum Item {
    /// It was opened, at this revision of the member.
    Opened(Revision),
    /// Events or progress.
    Batch(WatchBatch),
    /// The end.
    Ended(WatchError),
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Release);
    }
}

impl Wire {
    /// The end of the network at `own`, for one of several clients there.
    pub fn new(net: Net<Desk>, own: HostId, client: usize) -> Self {
        Self { net, own, reaction: Duration::from_millis(10 + 2 * client as u64) }
    }

    /// Waits as long as it takes to notice that a connection is broken.
    pub async fn react(&self) {
        tokio::time::sleep(self.reaction).await;
    }

    /// Asks a member; none if there is no answer in time.
    pub async fn ask(&self, member: HostId, ask: Ask, patience: Duration) -> Option<Reply> {
        let (send, receive) = oneshot::channel();
        let (net, own) = (self.net.clone(), self.own);
        let arrival = Box::new(move |desk: &Desk| {
            let answer =
                move |reply: Reply| net.send(member, own, Box::new(move |_: &Desk| drop(send.send(reply))));
            let Some(store) = desk.store() else { return answer(Reply::Refused("nobody listens".into())) };
            drop(tokio::runtime::Handle::current().spawn(async move { answer(serve(&store, ask).await) }));
        });
        self.net.send(self.own, member, arrival);
        match tokio::time::timeout(patience, receive).await {
            Ok(Ok(reply)) => return Some(reply),
            Ok(Err(_)) => self.react().await,
            Err(_) => {}
        }
        None
    }

    /// Opens a watch on a member.
    pub fn watch(&self, member: HostId, request: WatchRequest) -> Stream {
        let (send, items) = mpsc::channel(BATCHES_MAX);
        let gone = Arc::new(AtomicBool::new(false));
        let stream = Stream { items, gone: Arc::clone(&gone) };
        let (net, own, channel) = (self.net.clone(), self.own, self.net.new_channel());
        let arrival = Box::new(move |desk: &Desk| {
            let Some(store) = desk.store() else { return };
            let deliver = move |item: Item| {
                let send = send.clone();
                net.send_in_order(member, own, channel, Box::new(move |_: &Desk| drop(send.try_send(item))));
            };
            drop(tokio::runtime::Handle::current().spawn(follow(store, request, gone, deliver)));
        });
        self.net.send(self.own, member, arrival);
        stream
    }
}

async fn follow(store: Store, request: WatchRequest, gone: Arc<AtomicBool>, deliver: impl Fn(Item) + Send) {
    let before = store.revision();
    let mut watch = store.watch(request).await;
    // Nothing else runs between these two looks unless opening waits; then the watch begins somewhere in between.
    if store.revision() != before {
        return;
    }
    deliver(Item::Opened(before));
    while !gone.load(Ordering::Acquire) {
        match watch.next().await {
            Ok(batch) => deliver(Item::Batch(batch)),
            Err(error) => return deliver(Item::Ended(error)),
        }
    }
}

async fn serve(store: &Store, ask: Ask) -> Reply {
    match ask {
        Ask::Keys(request) => keys(store, request).await,
        Ask::Compact(revision) => match store.compact(revision).await {
            Ok(()) => Reply::Done,
            Err(CompactError::Write(error)) => write_failed(error),
            Err(error) => Reply::Refused(error.to_string()),
        },
        Ask::Grant(id, ttl) => lease(store.lease_grant(ttl, Some(id)).await.map(drop)),
        Ask::KeepAlive(id) => lease(store.lease_keep_alive(id).await.map(drop)),
        Ask::Revoke(id) => lease(store.lease_revoke(id).await.map(drop)),
        Ask::Members => match store.members(true).await {
            Ok(members) => Reply::Members(members.iter().filter_map(member_of).collect()),
            Err(error) => Reply::Refused(error.to_string()),
        },
        Ask::Add { host, learner } => {
            changed(store.member_add(vec![peer_url(host)], learner).await.map(drop))
        }
        Ask::Promote(id) => changed(store.member_promote(id).await),
        Ask::Remove(id) => changed(store.member_remove(id).await),
    }
}

fn member_of(member: &Member) -> Option<MemberOf> {
    let host = member.peer_urls.first().and_then(|url| host_of(url))?;
    Some(MemberOf { host, id: member.id, is_learner: member.is_learner })
}

fn changed(result: Result<(), ClusterError>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(
            error @ (ClusterError::Timeout
            | ClusterError::LeaderChanged
            | ClusterError::NoLeader
            | ClusterError::Closed
            | ClusterError::Halted(_)
            | ClusterError::Raft(_)),
        ) => Reply::Unknown(error.to_string()),
        Err(error) => Reply::Refused(error.to_string()),
    }
}

async fn keys(store: &Store, request: Request) -> Reply {
    let answered = match request {
        Request::Put(put) => store.put_with(put).await.map(Answer::Put),
        Request::Delete(delete) => store.delete_range(delete).await.map(Answer::Delete),
        Request::Txn(txn) => store.txn(txn).await.map(Answer::Txn),
        Request::Range { range, stale } => {
            if range.serializable
                && !stale
                && let Err(error) = store.current_revision_by_heartbeat().await
            {
                return Reply::Refused(error.to_string());
            }
            return match store.range(range).await {
                Ok(response) => Reply::Keys(Answer::Range(response)),
                Err(error @ RangeError::Engine(_)) => Reply::Unknown(error.to_string()),
                Err(error) => Reply::Refused(error.to_string()),
            };
        }
    };
    answered.map_or_else(write_failed, Reply::Keys)
}

fn write_failed(error: WriteError) -> Reply {
    match error {
        WriteError::Unknown(_) | WriteError::Timeout | WriteError::LeaderChanged => {
            Reply::Unknown(error.to_string())
        }
        error => Reply::Refused(error.to_string()),
    }
}

fn lease(result: Result<(), LeaseError>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(LeaseError::Write(error)) => write_failed(error),
        Err(LeaseError::NotFound(_)) => Reply::NoLease,
        Err(error) => Reply::Refused(error.to_string()),
    }
}
