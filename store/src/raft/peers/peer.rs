//! One other member as seen from here, and the table of all of them.
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Session;
use super::session::Heard;
use crate::api::{Link, Transport};
use crate::metering::{Meters, Traffic};
use crate::platform::{Hearer, Teller};
use crate::raft::types::{MemberNode, Membership};
use crate::raft::wire::{Hello, PROTOCOL_VERSION, Purpose, Refusal, Reply, Request, Welcome};
use crate::stop::StopState;

/// Between attempts to reach a member that cannot be reached.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_millis(500);
/// A link that is not needed is tried after so long, as etcd's prober does, however well the member answers on another.
const SILENT_MAX: Duration = Duration::from_secs(5);

/// Who we are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    /// Of this process.
    pub(crate) instance: u64,
}

/// What was learned about another member, or about ourselves from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerEvent {
    /// Nobody listens where the member should: its process has ended.
    Gone(u64),
    /// A link was opened.
    Reached(u64),
    /// The cluster has removed us, as of this log entry.
    NotAMember(u64),
    /// Another process has our identity.
    Duplicate,
    /// The cluster was recovered or restored without us.
    Superseded,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the link has ended")]
    Ended,
    #[error("it does not listen")]
    Gone,
    #[error("it cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("it refuses us: {0}")]
    Refused(Refusal),
    #[error("it took too long")]
    Timeout,
    #[error("it has no address")]
    NoAddress,
    #[error("it answered {0}")]
    Unexpected(String),
}

/// All other members.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(super) local: Local,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) tasks: TaskTracker,
    /// Ends all links.
    pub(super) stop: CancellationToken,
    pub(crate) store: Arc<StopState>,
    pub(super) meters: Arc<Meters>,
    /// The clusters whose place ours has taken.
    pub(super) superseded: Vec<u64>,
    /// The time that opening a link may take.
    pub(super) dial_max: Duration,
    events: mpsc::Sender<PeerEvent>,
    table: Mutex<BTreeMap<u64, Arc<Peer>>>,
    /// The log entry of the newest members that cannot be undone.
    settled: Teller<Option<u64>>,
}

/// One other member.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: u64,
    urls: Mutex<Vec<String>>,
    pub(super) traffic: Arc<Traffic>,
    raft: Lane,
    calls: Lane,
    heard: Heard,
    removed: CancellationToken,
}

/// The link for one purpose, opened when it is needed. The lock is held while it is opened: others wait for the same link.
#[derive(Debug, Default)]
struct Lane {
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

impl Peers {
    pub(crate) fn new(
        local: Local,
        transport: Arc<dyn Transport>,
        stop: CancellationToken,
        store: Arc<StopState>,
        dial_max: Duration,
        events: mpsc::Sender<PeerEvent>,
    ) -> Self {
        let tasks = TaskTracker::new();
        Self {
            local,
            transport,
            tasks,
            stop,
            store,
            meters: Arc::default(),
            superseded: Vec::new(),
            dial_max,
            events,
            table: Mutex::default(),
            settled: Teller::new(None),
        }
    }

    /// Counts the traffic where others see it.
    pub(crate) fn counting(self, meters: &Arc<Meters>) -> Self {
        Self { meters: Arc::clone(meters), ..self }
    }

    /// Turns away members of these clusters for good: ours has taken their place.
    pub(crate) fn superseding(self, clusters: &[u64]) -> Self {
        Self { superseded: clusters.to_vec(), ..self }
    }

    /// Runs something until all links end.
    pub(crate) fn spawn(&self, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(part);
    }

    /// Ends all links and stops listening.
    pub(crate) fn end(&self) {
        self.stop.cancel();
        self.transport.close();
        let mut peers = self.table.lock();
        for peer in peers.values() {
            peer.removed.cancel();
        }
        peers.clear();
    }

    /// Whether a link to a member is open and is answered.
    pub(crate) fn is_connected(&self, id: u64) -> bool {
        self.table.lock().get(&id).is_some_and(|peer| peer.traffic.is_connected())
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Peer>> {
        self.table.lock().get(&id).cloned()
    }

    /// The member, at the address that it has now.
    pub(crate) fn at(self: &Arc<Self>, id: u64, node: &MemberNode) -> Arc<Peer> {
        let mut peers = self.table.lock();
        let peer = peers.entry(id).or_insert_with(|| {
            let peer = Arc::new(Peer {
                id,
                urls: Mutex::default(),
                traffic: self.meters.peer(id),
                raft: Lane::default(),
                calls: Lane::default(),
                heard: Heard::default(),
                removed: CancellationToken::new(),
            });
            self.tasks.spawn(keep(Arc::clone(self), Arc::clone(&peer)));
            peer
        });
        peer.urls.lock().clone_from(&node.peer_urls);
        Arc::clone(peer)
    }

    /// Follows a change of members; `settled` is the log entry of the newest one that is committed.
    pub(crate) fn update(self: &Arc<Self>, membership: &Membership, settled: Option<u64>) {
        for (id, node) in membership.nodes() {
            if *id != self.local.member_id {
                drop(self.at(*id, node));
            }
        }
        self.table.lock().retain(|id, peer| {
            let stays = membership.get_node(id).is_some();
            if !stays {
                peer.removed.cancel();
            }
            stays
        });
        self.meters.retain_peers(|id| membership.get_node(&id).is_some());
        self.settled.tell_if_new(settled);
    }

    /// Hears of each change of the members that is committed.
    pub(super) fn settled(&self) -> Hearer<Option<u64>> {
        self.settled.hearer()
    }

    /// Ends all links and waits until they have.
    pub(crate) async fn close(&self) {
        self.end();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(super) fn tell(&self, event: PeerEvent) {
        if self.events.try_send(event).is_err() {
            tracing::trace!(?event, "nobody took the news; it will be told again");
        }
    }

    /// The open link to a member for a purpose.
    pub(crate) async fn session(&self, peer: &Peer, purpose: Purpose) -> Result<Arc<Session>, CallError> {
        let lane = if purpose == Purpose::Raft { &peer.raft } else { &peer.calls };
        let mut slot = lane.session.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| !session.has_ended()) {
            return Ok(Arc::clone(session));
        }
        *slot = None;
        let link = self.open(peer, purpose).await?;
        let session = Arc::new(Session::start(link, &peer.traffic, &peer.heard, &self.tasks, &self.stop));
        *slot = Some(Arc::clone(&session));
        self.tell(PeerEvent::Reached(peer.id));
        Ok(session)
    }

    /// Opens a link and says who we are. The version that is spoken on it comes with it.
    pub(super) async fn open(&self, peer: &Peer, purpose: Purpose) -> Result<(Link, u16), CallError> {
        let urls = peer.urls.lock().clone();
        let hello = Hello {
            version: PROTOCOL_VERSION,
            purpose,
            cluster_id: self.local.cluster_id,
            from: self.local.member_id,
            to: peer.id,
            instance: self.local.instance,
        };
        let opened =
            tokio::time::timeout(self.dial_max, dial_and_greet(&*self.transport, &urls, hello)).await;
        let Greeted { link, version, welcome } = opened.map_err(|_late| CallError::Timeout)??;
        match welcome {
            Welcome::Accepted => Ok((link, version)),
            Welcome::Members { .. } => Err(CallError::Unexpected("a list of members".into())),
            Welcome::Refused(refusal) => {
                tracing::debug!(peer = peer.id, %refusal, "another member refuses us");
                match refusal {
                    Refusal::NotAMember(index) => self.tell(PeerEvent::NotAMember(index)),
                    Refusal::Duplicate => self.tell(PeerEvent::Duplicate),
                    Refusal::Superseded(_) => self.tell(PeerEvent::Superseded),
                    _ => {}
                }
                Err(CallError::Refused(refusal))
            }
        }
    }
}

/// A link whose greeting was answered.
pub(super) struct Greeted {
    link: Link,
    /// In this version.
    version: u16,
    pub(super) welcome: Welcome,
}

/// Opens a link to the first of the URLs that answers, and reads the answer to the greeting. A member that knows no version as new as ours
/// is greeted once more, in its own.
pub(super) async fn dial_and_greet(
    transport: &dyn Transport,
    urls: &[String],
    hello: Hello,
) -> Result<Greeted, CallError> {
    let (link, welcome) = greet(transport, urls, &hello).await?;
    let Some(hello) = hello.in_version_of(&welcome) else {
        return Ok(Greeted { link, version: hello.version, welcome });
    };
    drop(link);
    let (link, welcome) = greet(transport, urls, &hello).await?;
    Ok(Greeted { link, version: hello.version, welcome })
}

async fn greet(
    transport: &dyn Transport,
    urls: &[String],
    hello: &Hello,
) -> Result<(Link, Welcome), CallError> {
    let mut failed = CallError::NoAddress;
    for url in urls {
        match transport.dial(url).await {
            Ok(mut link) => {
                let mut greeting = vec![Bytes::from(hello.encode())];
                link.sender.send(&mut greeting).await.map_err(CallError::Unreachable)?;
                let answer = link.receiver.receive().await.map_err(CallError::Unreachable)?;
                let answer = answer.ok_or(CallError::Ended)?;
                let welcome =
                    Welcome::decode(&answer).map_err(|error| CallError::Unexpected(error.to_string()))?;
                return Ok((link, welcome));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // An address that was unreachable may hide a living process.
                if !matches!(failed, CallError::Unreachable(_)) {
                    failed = CallError::Gone;
                }
            }
            Err(error) => failed = CallError::Unreachable(error),
        }
    }
    Err(failed)
}

/// Says that we are there, whenever nothing was answered on the link for a while, until it ends. One without answers is ended. A link that nobody
/// waits on is not pinged while the member answers on another: each of our requests there says as well that we are there.
async fn ping(session: &Session, peer: &Peer, answer_max: Duration) {
    loop {
        let due = next_ping(session, peer, answer_max);
        tokio::select! {
            biased;
            () = session.ended() => return,
            () = tokio::time::sleep_until(due) => {}
        }
        if next_ping(session, peer, answer_max) > due {
            continue; // an answer is as good as one to a ping
        }
        let began = Instant::now();
        let answered = tokio::time::timeout(2 * answer_max, session.call(&Request::Ping)).await;
        if !matches!(answered, Ok(Ok(Reply::Pong))) {
            session.end();
            return;
        }
        peer.traffic.round_trip(began.elapsed());
    }
}

fn next_ping(session: &Session, peer: &Peer, answer_max: Duration) -> Instant {
    let here = session.heard();
    if session.is_in_use() {
        return here + answer_max;
    }
    let elsewhere = peer.heard.lock().unwrap_or(here);
    here.max(elsewhere.min(here + SILENT_MAX)) + answer_max
}

/// Keeps the link for calls open, and tells when nobody listens at the other end any more.
async fn keep(peers: Arc<Peers>, peer: Arc<Peer>) {
    let work = async {
        let mut pause = RETRY_FIRST;
        loop {
            match peers.session(&peer, Purpose::Calls).await {
                Ok(session) => {
                    pause = RETRY_FIRST;
                    peer.traffic.set_connected(true);
                    ping(&session, &peer, peers.dial_max).await;
                    peer.traffic.set_connected(false);
                    continue;
                }
                Err(error) => {
                    peer.traffic.send_failed();
                    if matches!(error, CallError::Gone) {
                        peers.tell(PeerEvent::Gone(peer.id));
                    } else {
                        tracing::debug!(peer = peer.id, %error, "another member is not there");
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    };
    tokio::select! {
        biased;
        () = peers.stop.cancelled() => {}
        () = peer.removed.cancelled() => {}
        () = work => {}
    }
}
