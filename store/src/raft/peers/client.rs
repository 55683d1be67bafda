//! What openraft calls to reach another member.
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, future, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::peer::{CallError, Peer, Peers};
use super::session::Answering;
use crate::raft::machine::SnapshotData;
use crate::raft::types::{LogId, MemberNode, SnapshotOf, TypeConfig, Vote};
use crate::raft::wire::{Purpose, Reply, Request};

/// So many appends to one member are under way at a time.
const APPENDS_MAX: usize = 64;
/// An append that is not answered for so long counts as lost, with the link.
const APPEND_MAX: Duration = Duration::from_secs(5);
/// The pauses between attempts: a member that is back must not be waited for.
const BACKOFF: [Duration; 5] = [
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];
/// The other member may take so long to accept one part of a snapshot, and to put the whole into place.
const SNAPSHOT_PART_MAX: Duration = Duration::from_secs(30);
const SNAPSHOT_INSTALL_MAX: Duration = Duration::from_secs(600);

/// Makes clients. None for a store that stays alone: there is nobody to reach.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) peers: Option<Arc<Peers>>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &MemberNode) -> PeerClient {
        let peer = self.peers.as_ref().map(|peers| (Arc::clone(peers), peers.at(target, node)));
        PeerClient { peer }
    }
}

/// The client for one member.
#[derive(Clone, Debug)]
pub(crate) struct PeerClient {
    peer: Option<(Arc<Peers>, Arc<Peer>)>,
}

impl PeerClient {
    fn peer(&self) -> Result<&(Arc<Peers>, Arc<Peer>), CallError> {
        self.peer.as_ref().ok_or(CallError::NoAddress)
    }

    async fn call(&self, request: Request, option: &RPCOption) -> Result<Reply, RPCError<TypeConfig>> {
        let ask = async {
            let (peers, peer) = self.peer()?;
            peers.session(peer, Purpose::Raft).await?.call(&request).await
        };
        let asked = tokio::time::timeout(option.hard_ttl(), ask).await;
        asked.unwrap_or(Err(CallError::Timeout)).map_err(|error| rpc_error(&error))
    }

    async fn call_for_vote(
        &self,
        request: Request,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(request, option).await? {
            Reply::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}

/// A member that cannot be reached is left alone for a moment; a lost answer is asked for again.
fn rpc_error(error: &CallError) -> RPCError<TypeConfig> {
    match error {
        CallError::Ended | CallError::Timeout => RPCError::Network(NetworkError::new(&to_io(error))),
        _ => RPCError::Unreachable(Unreachable::new(&to_io(error))),
    }
}

fn to_io(error: &CallError) -> io::Error {
    io::Error::other(error.to_string())
}

fn unexpected(reply: &Reply) -> RPCError<TypeConfig> {
    rpc_error(&CallError::Unexpected(format!("{reply:?}")))
}

/// An append on its way, with what openraft wants to hear of it.
struct Append {
    answering: Result<Answering, CallError>,
    prev: Option<LogId>,
    last: Option<LogId>,
}

impl Append {
    async fn answer(self) -> Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>> {
        let answering = self.answering.map_err(|error| rpc_error(&error))?;
        let answered = tokio::time::timeout(APPEND_MAX, answering).await;
        match answered.unwrap_or(Err(CallError::Timeout)).map_err(|error| rpc_error(&error))? {
            Reply::Appended => Ok(Ok(self.last)),
            Reply::HigherVote(vote) => Ok(Err(StreamAppendError::HigherVote(vote))),
            Reply::Conflict => match self.prev {
                Some(prev) => Ok(Err(StreamAppendError::Conflict(prev))),
                None => Err(rpc_error(&CallError::Unexpected("a conflict before the first entry".into()))),
            },
            other => Err(unexpected(&other)),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for PeerClient {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Request::Append(rpc), &option).await? {
            Reply::Appended => Ok(AppendEntriesResponse::Success),
            Reply::Conflict => Ok(AppendEntriesResponse::Conflict),
            Reply::HigherVote(vote) => Ok(AppendEntriesResponse::HigherVote(vote)),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends appends one after the other without waiting for answers, which come back in the same order.
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // openraft pauses between attempts where it gives out the next append. Without one, a member that has ended would be dialled without pause.
            let Some(first) = input.next().await else {
                let nothing: BoxStream<'s, _> = Box::pin(stream::empty());
                return Ok(nothing);
            };
            let input = stream::once(future::ready(first)).chain(input);
            let open = async {
                let (peers, peer) = self.peer()?;
                peers.session(peer, Purpose::Raft).await
            };
            // A dead machine must not hold up the next heartbeat for ever.
            let opened = tokio::time::timeout(option.hard_ttl().max(APPEND_MAX), open).await;
            let session = opened.unwrap_or(Err(CallError::Timeout)).map_err(|error| rpc_error(&error))?;
            let answers = input
                .then(move |append| {
                    let session = Arc::clone(&session);
                    async move {
                        let prev = append.prev_log_id;
                        let last = append.entries.last().map(|entry| entry.log_id).or(prev);
                        let answering = session.begin(&Request::Append(append)).await;
                        Append { answering, prev, last }
                    }
                })
                .map(Append::answer)
                .buffered(APPENDS_MAX);
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call_for_vote(Request::Vote(rpc), &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call_for_vote(Request::PreVote(rpc), &option).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        match self.call(Request::Transfer(request), &option).await? {
            Reply::Transferred => Ok(Ok(())),
            other => Err(unexpected(&other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let send = async {
            let (peers, peer) = self.peer()?;
            send_snapshot(peers, peer, vote, snapshot).await
        };
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            result = send => match result {
                Ok(vote) => Ok(SnapshotResponse { vote }),
                Err(error) => {
                    tracing::warn!(%error, "a snapshot was not sent");
                    Err(StreamingError::Unreachable(Unreachable::new(&to_io(&error))))
                }
            },
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF.last().copied().unwrap_or(APPEND_MAX);
        Some(Backoff::new(BACKOFF.into_iter().chain(std::iter::repeat(last))))
    }
}

/// Streams a snapshot over a link of its own, while everything else goes on. The other member's vote comes back.
async fn send_snapshot(
    peers: &Arc<Peers>,
    peer: &Arc<Peer>,
    vote: Vote,
    snapshot: SnapshotOf<SnapshotData>,
) -> Result<Vote, CallError> {
    let SnapshotData::Outgoing(mut image) = snapshot.snapshot else {
        return Err(CallError::Unexpected("a snapshot without data".into()));
    };
    let (mut link, version) = peers.open(peer, Purpose::Snapshot).await?;
    let mut send = async |request: Request| {
        let mut frames = vec![Bytes::from(request.encode(version, 1))];
        let bytes = frames.iter().map(Bytes::len).sum();
        let sent = tokio::time::timeout(SNAPSHOT_PART_MAX, link.sender.send(&mut frames)).await;
        sent.map_err(|_late| CallError::Timeout)?.map_err(CallError::Unreachable)?;
        peer.traffic.sent(bytes);
        Ok::<(), CallError>(())
    };
    send(Request::SnapshotBegin { vote, meta: snapshot.meta }).await?;
    while let Some(part) = image.next().await {
        let rows = part.map_err(|error| CallError::Unexpected(error.to_string()))?;
        send(Request::SnapshotRows(rows)).await?;
    }
    let (rows, checksum) = image.totals();
    send(Request::SnapshotEnd { rows, checksum }).await?;
    let answer = tokio::time::timeout(SNAPSHOT_INSTALL_MAX, link.receiver.receive()).await;
    let frame = answer.map_err(|_late| CallError::Timeout)?.map_err(CallError::Unreachable)?;
    let frame = frame.ok_or(CallError::Ended)?;
    match Reply::decode(&frame) {
        Ok((_, Reply::Installed(vote))) => Ok(vote),
        Ok((_, other)) => Err(CallError::Unexpected(format!("{other:?}"))),
        Err(error) => Err(CallError::Unexpected(error.to_string())),
    }
}
