//! Where the requests of other members are answered.
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use openraft::errors::RaftError;
use openraft::raft::StreamAppendError;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use tokio::sync::{mpsc, oneshot};

use super::forwarded::Forwarded;
use super::machine::{SnapshotData, StagedTables};
use super::member::Member;
use super::peers::{Answer, Answerer, Answers, Append, From};
use super::types::{MemberNode, Membership, Origin, SnapshotMeta, SnapshotOf, Vote};
use super::wire::{Reply, Request};
use crate::api::{ClusterError, Config, LinkReceiver, WriteError};
use crate::engine::ImageFiles;

/// So many parts of a snapshot wait to be written.
const PARTS_AHEAD: usize = 4;
/// In a simulation they are written when all have come, and there are few.
const PARTS_SIMULATED_MAX: usize = 4096;

/// Answers with what one member knows.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) member: Member,
    /// The data directory; snapshots are put together in it.
    pub(crate) dir: PathBuf,
    pub(crate) config: Config,
    /// One snapshot is taken at a time.
    pub(crate) receiving: tokio::sync::Mutex<u64>,
    pub(crate) forwarded: Forwarded,
}

impl Answerer for Desk {
    fn answer(self: Arc<Self>, from: From, request: Request) -> Answer {
        Box::pin(async move { self.reply(from, request).await })
    }

    fn append_all(self: Arc<Self>, appends: mpsc::Receiver<Append>) -> Answers {
        let taken = stream::unfold(appends, async |mut appends| Some((appends.recv().await?, appends)));
        let answered = self.member.raft.stream_append(taken).map(|result| match result {
            Ok(Ok(_last)) => Reply::Appended,
            Ok(Err(StreamAppendError::Conflict(_))) => Reply::Conflict,
            Ok(Err(StreamAppendError::HigherVote(vote))) => Reply::HigherVote(vote),
            Err(fatal) => Reply::Failed(fatal.to_string()),
        });
        answered.boxed()
    }

    fn take_snapshot(self: Arc<Self>, first: Request, parts: Box<dyn LinkReceiver>) -> Answer {
        Box::pin(async move {
            let Request::SnapshotBegin { vote, meta } = first else {
                return Some(Reply::Failed("a snapshot must begin with its beginning".into()));
            };
            Some(match self.receive(vote, meta, parts).await {
                Ok(vote) => Reply::Installed(vote),
                Err(error) => {
                    tracing::warn!(%error, "a snapshot was not taken");
                    Reply::Failed(error)
                }
            })
        })
    }

    fn members(&self) -> Option<Vec<(u64, MemberNode)>> {
        let metrics = self.member.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.log_id().as_ref()?;
        let nodes = metrics.membership_config.membership().nodes();
        Some(nodes.map(|(id, node)| (*id, node.clone())).collect())
    }

    fn removed(&self, id: u64) -> Option<u64> {
        let metrics = self.member.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let settled = &metrics.committed_membership_config;
        let is_member = |members: &Membership| members.get_node(&id).is_some();
        let index = settled.log_id().as_ref()?.index;
        let either = is_member(settled.membership()) || is_member(metrics.membership_config.membership());
        (!either).then_some(index)
    }
}

impl Desk {
    async fn reply(&self, from: From, request: Request) -> Option<Reply> {
        let raft = &self.member.raft;
        match request {
            Request::Vote(vote) => {
                Some(raft.vote(vote).await.map_or_else(|error| failed(&error), Reply::Vote))
            }
            Request::PreVote(vote) => {
                Some(raft.pre_vote(vote).await.map_or_else(|error| failed(&error), Reply::Vote))
            }
            Request::Transfer(transfer) => Some(match raft.handle_transfer_leader(transfer).await {
                Ok(Ok(())) => Reply::Transferred,
                Ok(Err(refused)) => Reply::Failed(refused.to_string()),
                Err(error) => Reply::Failed(error.to_string()),
            }),
            Request::Forward { term, sequence, note, command } => {
                if let Err(WriteError::NoSpace { free_bytes, reserve_bytes, .. }) =
                    self.member.space.check(&command)
                {
                    return Some(Reply::NoSpace { free_bytes, reserve_bytes });
                }
                if !self.forwarded.is_new(from, term, sequence) {
                    return None;
                }
                let origin = Origin { member: from.member, sequence };
                self.member.take_forwarded(origin, term, command, note).await
            }
            Request::Ping => Some(Reply::Pong),
            Request::Room => {
                let lack = self.member.space.lack();
                Some(lack.map_or(Reply::Pong, |(free_bytes, reserve_bytes)| Reply::NoSpace {
                    free_bytes,
                    reserve_bytes,
                }))
            }
            request => Some(self.reply_as_leader(request).await),
        }
    }

    /// To what only a leader can answer.
    async fn reply_as_leader(&self, request: Request) -> Reply {
        let Some(cluster) = &self.member.cluster else { return Reply::NotLeader };
        let lease = |left: Option<Option<super::leases::LeaseLeft>>| {
            left.map_or(Reply::NotLeader, |left| {
                let millis = |time: std::time::Duration| time.as_millis() as u64;
                Reply::Lease(left.map(|left| (millis(left.granted), millis(left.remaining))))
            })
        };
        match request {
            Request::ReadIndex(haste) => {
                self.member.read_index(cluster, haste).await.map_or(Reply::NotLeader, Reply::ReadIndex)
            }
            Request::LeaseKeepAlive(id) => lease(self.member.lease_as_leader(cluster, id, true).await),
            Request::LeaseTimeToLive(id) => lease(self.member.lease_as_leader(cluster, id, false).await),
            Request::Change(change) => match self.member.change_here(&change).await {
                Err(ClusterError::NotLeader) => Reply::NotLeader,
                result => Reply::Changed(result),
            },
            _ => Reply::Failed("this request has no place here".into()),
        }
    }

    /// Writes a snapshot beside the tables and has consensus put it into their place. The vote comes back: a higher one refuses.
    async fn receive(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        mut link: Box<dyn LinkReceiver>,
    ) -> Result<Vote, String> {
        let mut last = self.receiving.lock().await;
        *last += 1;
        let platform = &self.config.platform;
        let ahead = if platform.is_simulated() { PARTS_SIMULATED_MAX } else { PARTS_AHEAD };
        let (parts, mut waiting) = mpsc::channel(ahead);
        let (done, written) = oneshot::channel();
        let (unfinished, config) = (self.dir.join("incoming"), self.config.clone());
        let write = move |next: &mut dyn FnMut(&mut mpsc::Receiver<Bytes>) -> Option<Bytes>| {
            drop(done.send(ImageFiles::write(&unfinished, &config, || next(&mut waiting))));
        };
        let mut later = Some(write);
        if !platform.is_simulated()
            && let Some(write) = later.take()
        {
            std::thread::Builder::new()
                .name("store-snapshot".into())
                .spawn(move || write(&mut mpsc::Receiver::blocking_recv))
                .map_err(|error| error.to_string())?;
        }
        let expected = loop {
            let frame = link.receive().await.map_err(|error| error.to_string())?;
            let frame = frame.ok_or("the link ended before the snapshot did")?;
            match Request::decode(&frame).map_err(|error| error.to_string())? {
                // If nobody takes it, the error comes below.
                (_, Request::SnapshotRows(rows)) => {
                    if parts.send(rows).await.is_err() {
                        break (0, 0);
                    }
                }
                (_, Request::SnapshotEnd { rows, checksum }) => break (rows, checksum),
                (_, other) => return Err(format!("{other:?} inside a snapshot")),
            }
        };
        drop(parts);
        if let Some(write) = later {
            write(&mut |waiting| waiting.try_recv().ok());
        }
        let files =
            written.await.map_err(|_dropped| "its thread has ended")?.map_err(|error| error.to_string())?;
        if files.totals() != expected {
            return Err(format!("it is damaged: {:?} arrived of {expected:?}", files.totals()));
        }
        let name = format!("tables-{:016x}-{}", meta.last_log_id.as_ref().map_or(0, |id| id.index), *last);
        let (path, config) = (self.dir.join(&name), self.config.clone());
        let finished = platform.blocking(move || files.finish(&path, &config)).await;
        let mark = finished.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if mark.index != meta.last_log_id.as_ref().map(|id| id.index) {
            return Err("it is not of the log entry that it says".into());
        }
        let snapshot = SnapshotOf { meta, snapshot: SnapshotData::Staged(StagedTables { name }) };
        let installed = self.member.raft.install_full_snapshot(vote, snapshot).await;
        installed.map(|response| response.vote).map_err(|error| error.to_string())
    }
}

fn failed<E: std::error::Error>(error: &RaftError<super::types::TypeConfig, E>) -> Reply
where
    RaftError<super::types::TypeConfig, E>: std::fmt::Display,
{
    Reply::Failed(error.to_string())
}
