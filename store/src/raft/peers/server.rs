//! Links that other members open to us: who may, and the loop that answers them.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::appends::{Answers, Append, Appends};
use super::peer::Peers;
use crate::api::{Link, LinkReceiver};
use crate::metering::Traffic;
use crate::raft::types::MemberNode;
use crate::raft::wire::{Hello, PROTOCOL_VERSION, Purpose, Refusal, Reply, Request, Welcome, speaks};

/// A stranger has so long to say who it is.
const GREETING_MAX: Duration = Duration::from_secs(5);
/// So many requests of one link are answered at a time; the link is not read beyond that.
const REQUESTS_MAX: usize = 1024;
/// So many answers are sent with one call to the transport.
const BATCH_MAX: usize = 256;
/// After a failed accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// An answer, or none if the request wants none.
pub(crate) type Answer = BoxFuture<'static, Option<Reply>>;

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct From {
    pub(crate) member: u64,
    /// Of its process.
    pub(crate) instance: u64,
}

/// What is behind the links.
pub(crate) trait Answerer: Send + Sync + 'static {
    /// Answers a request of another member.
    fn answer(self: Arc<Self>, from: From, request: Request) -> Answer;

    /// Hands appends to consensus one after the other, and answers each in that order. The answers may end after a refusal.
    fn append_all(self: Arc<Self>, appends: mpsc::Receiver<Append>) -> Answers;

    /// Takes a snapshot from a link that begins with this request.
    fn take_snapshot(self: Arc<Self>, first: Request, parts: Box<dyn LinkReceiver>) -> Answer;

    /// The members as they are known here; none if nothing is known.
    fn members(&self) -> Option<Vec<(u64, MemberNode)>>;

    /// The log entry as of which somebody is no member, and that cannot be undone.
    fn removed(&self, id: u64) -> Option<u64>;
}

/// Accepts links until the stop.
pub(crate) struct Server<A> {
    peers: Arc<Peers>,
    answerer: Arc<A>,
    guests: Mutex<HashMap<u64, Guest>>,
    /// A process that was heard of within this time is alive.
    alive_max: Duration,
}

/// The process of another member that links are open from.
#[derive(Debug)]
struct Guest {
    instance: u64,
    links: usize,
    heard: Instant,
    /// Ends its links.
    superseded: CancellationToken,
}

impl<A: Answerer> Server<A> {
    pub(crate) fn new(peers: Arc<Peers>, answerer: Arc<A>, alive_max: Duration) -> Self {
        Self { peers, answerer, guests: Mutex::default(), alive_max }
    }

    pub(crate) async fn run(self: Arc<Self>) {
        let stop = self.peers.stop.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.peers.transport.accept() => accepted,
            };
            match accepted {
                Ok(link) => {
                    let server = Arc::clone(&self);
                    self.peers.tasks.spawn(async move {
                        let stop = server.peers.stop.clone();
                        tokio::select! {
                            biased;
                            () = stop.cancelled() => {} // the other side sees the link end
                            () = server.serve(link) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "could not accept a link");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, mut link: Link) {
        let greeting = tokio::time::timeout(GREETING_MAX, link.receiver.receive()).await;
        let Ok(Ok(Some(frame))) = greeting else {
            tracing::debug!(peer = %link.peer, "a link without greeting");
            return;
        };
        let (welcome, hello) = match Hello::decode(&frame) {
            Ok(hello) => (self.welcome(&hello), Some(hello)),
            Err(_unreadable) => (Welcome::Refused(Refusal::Unreadable), None),
        };
        let accepted = welcome == Welcome::Accepted;
        if let Welcome::Refused(refusal) = &welcome {
            tracing::warn!(peer = %link.peer, ?hello, ?refusal, "a link was refused");
        }
        let sent = link.sender.send(&mut vec![Bytes::from(welcome.encode())]).await;
        let (Ok(()), Some(hello), true) = (sent, hello, accepted) else { return };
        let Some(superseded) = self.enter(&hello) else { return };
        tokio::select! {
            biased;
            () = superseded.cancelled() => {} // its process has been replaced: nobody waits for these answers
            () = self.removal(hello.from) => {} // it hears of it when it comes again
            () = self.converse(&hello, link) => {}
        }
        self.leave(&hello);
    }

    /// Whether a member may come in.
    fn welcome(&self, hello: &Hello) -> Welcome {
        let local = self.peers.local;
        if !speaks(hello.version) {
            return Welcome::Refused(Refusal::Version(PROTOCOL_VERSION));
        }
        if hello.purpose == Purpose::Join {
            return match self.answerer.members() {
                Some(members) => Welcome::Members { cluster_id: local.cluster_id, members },
                None => Welcome::Refused(Refusal::NoMembers),
            };
        }
        if self.peers.superseded.contains(&hello.cluster_id) {
            return Welcome::Refused(Refusal::Superseded(local.cluster_id));
        }
        if hello.cluster_id != local.cluster_id {
            return Welcome::Refused(Refusal::OtherCluster(local.cluster_id));
        }
        if hello.to != local.member_id {
            return Welcome::Refused(Refusal::OtherMember(local.member_id));
        }
        if let Some(index) = self.answerer.removed(hello.from) {
            return Welcome::Refused(Refusal::NotAMember(index));
        }
        if hello.from == local.member_id || self.is_duplicate(hello) {
            return Welcome::Refused(Refusal::Duplicate);
        }
        Welcome::Accepted
    }

    /// Returns once a member is none any more. The leader stops sending to it with the same entry, so that it would not learn of it.
    async fn removal(&self, id: u64) {
        let mut settled = self.peers.settled();
        while self.answerer.removed(id).is_none() {
            if settled.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether another process with this identity is alive.
    fn is_duplicate(&self, hello: &Hello) -> bool {
        self.guests.lock().get(&hello.from).is_some_and(|guest| {
            guest.instance != hello.instance && guest.links > 0 && guest.heard.elapsed() < self.alive_max
        })
    }

    fn enter(&self, hello: &Hello) -> Option<CancellationToken> {
        if self.is_duplicate(hello) {
            return None;
        }
        let mut guests = self.guests.lock();
        let new = || Guest {
            instance: hello.instance,
            links: 0,
            heard: Instant::now(),
            superseded: CancellationToken::new(),
        };
        let guest = guests.entry(hello.from).or_insert_with(new);
        if guest.instance != hello.instance {
            guest.superseded.cancel();
            *guest = new();
        }
        guest.links += 1;
        guest.heard = Instant::now();
        Some(guest.superseded.clone())
    }

    fn leave(&self, hello: &Hello) {
        let mut guests = self.guests.lock();
        if let Some(guest) = guests.get_mut(&hello.from).filter(|guest| guest.instance == hello.instance) {
            guest.links = guest.links.saturating_sub(1);
        }
    }

    fn heard(&self, hello: &Hello) {
        let mut guests = self.guests.lock();
        if let Some(guest) = guests.get_mut(&hello.from).filter(|guest| guest.instance == hello.instance) {
            guest.heard = Instant::now();
        }
    }

    async fn converse(&self, hello: &Hello, link: Link) {
        if hello.purpose == Purpose::Snapshot {
            self.receive_snapshot(link).await;
            return;
        }
        let from = From { member: hello.from, instance: hello.instance };
        let Link { mut sender, receiver, .. } = link;
        let (requests, mut incoming) = mpsc::channel(BATCH_MAX);
        let traffic = self.peers.meters.peer(hello.from);
        let ended = CancellationToken::new();
        let _ends_the_reader = ended.clone().drop_guard();
        self.peers.tasks.spawn(read(receiver, requests, Arc::clone(&traffic), ended));
        let mut under_way = FuturesUnordered::new();
        let mut appends = Appends::new(Arc::clone(&self.answerer));
        let mut replies: Vec<Bytes> = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some(reply) = under_way.next(), if !under_way.is_empty() => replies.extend(reply),
                () = appends.answers(&mut replies) => {}
                request = incoming.recv(), if under_way.len() < REQUESTS_MAX && appends.has_room() => {
                    let Some((number, request)) = request else { return };
                    self.heard(hello);
                    let request = match request {
                        Request::Append(append) => {
                            appends.take(number, append);
                            continue;
                        }
                        other => other,
                    };
                    let answer = Arc::clone(&self.answerer).answer(from, request);
                    under_way.push(async move {
                        answer.await.map(|reply| Bytes::from(reply.encode(number)))
                    });
                    continue;
                }
            }
            while replies.len() < BATCH_MAX {
                let Some(Some(reply)) = under_way.next().now_or_never() else { break };
                replies.extend(reply);
            }
            while replies.len() < BATCH_MAX {
                let Some(()) = appends.answers(&mut replies).now_or_never() else { break };
            }
            if !replies.is_empty() {
                let bytes = replies.iter().map(Bytes::len).sum();
                if sender.send(&mut replies).await.is_err() {
                    traffic.send_failed();
                    return;
                }
                traffic.sent(bytes);
            }
        }
    }

    async fn receive_snapshot(&self, link: Link) {
        let Link { mut sender, mut receiver, .. } = link;
        let first = match receiver.receive().await {
            Ok(Some(frame)) => Request::decode(&frame),
            Ok(None) | Err(_) => return,
        };
        let Ok((number, first)) = first else { return };
        if let Some(reply) = Arc::clone(&self.answerer).take_snapshot(first, receiver).await {
            // If the other side has gone, it asks again.
            drop(sender.send(&mut vec![Bytes::from(reply.encode(number))]).await);
        }
    }
}

async fn read(
    mut receiver: Box<dyn LinkReceiver>,
    requests: mpsc::Sender<(u64, Request)>,
    traffic: Arc<Traffic>,
    ended: CancellationToken,
) {
    let work = async {
        loop {
            let frame = match receiver.receive().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => {
                    traffic.receive_failed();
                    tracing::debug!(%error, "a link from another member broke");
                    return;
                }
            };
            traffic.received(frame.len());
            match Request::decode(&frame) {
                Ok(request) => {
                    if requests.send(request).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "another member's request cannot be read");
                    return;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        () = work => {}
    }
}
