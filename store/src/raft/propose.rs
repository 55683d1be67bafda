//! Writing: on the leader into its log, on the other members through the leader.
//!
//! A caller is answered once, and its command is applied at most once: a command goes to the leader of one term only, and is tried again
//! only when it is certain that it was not and will not be applied: the leader refused it, or an entry of a later term was applied here
//! without the command before it. (The leader of a later term has every entry that was ever committed, so nothing of the earlier one can
//! be committed after that.)
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::raft::ClientWriteResult;
use tokio::time::Instant;

use super::caller::{Caller, WayBack};
use super::member::{Cluster, Member};
use super::peers::{Answering, CallError};
use super::types::{Origin, Proposal, TypeConfig, log_id};
use super::wire::{Purpose, Reply, Request};
use crate::api::{Leadership, WriteError, WriteTimes};
use crate::mvcc::{Applied, Command};
use crate::stop::Stopped;

/// Without news of a leader, it is looked for again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How an attempt ended.
enum Attempt {
    Answered(Applied),
    /// Nothing was or will be written: another attempt is safe.
    Again,
}

/// What becomes of a command that was sent to the leader.
enum Fate {
    /// It was not taken, or nobody knows.
    Refusal(Result<Reply, CallError>),
    /// It is on its way once more, or cannot be sent.
    SentAgain(Option<Answering>),
}

impl Member {
    /// Proposes a command and waits for its answer.
    pub(crate) async fn propose(&self, command: Command, times: Option<&Arc<WriteTimes>>) -> Applied {
        if let Some(times) = times {
            times.proposed();
        }
        let Some(cluster) = &self.cluster else {
            return match self.write(Arc::new(command), times).await {
                Ok(Ok(response)) => response.data,
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(WriteError::NoLeader),
                Ok(Err(error)) => Err(WriteError::Unknown(error.to_string())),
                Err(error) => Err(self.fatal(&error)),
            };
        };
        // In a box: a write of a member that is alone would carry the room for all of it.
        let applied = Box::pin(self.propose_in_cluster(cluster, Arc::new(command), times)).await;
        if let Some(times) = times {
            times.answered();
        }
        applied
    }

    async fn propose_in_cluster(
        &self,
        cluster: &Cluster,
        command: Arc<Command>,
        times: Option<&Arc<WriteTimes>>,
    ) -> Applied {
        let deadline = Instant::now() + cluster.request_max;
        let mut leadership = self.leadership.hearer();
        loop {
            let now = *leadership.borrow_and_update();
            let attempt = match now.leader {
                Some(_) if now.is_leader => self.propose_here(&command, deadline, times).await,
                // In a box: what a follower has to keep in mind would make every leader's write larger.
                Some(leader) => {
                    if let Some(times) = times {
                        times.forwarded(leader);
                    }
                    let note = times.and_then(|times| times.note()).cloned();
                    Box::pin(self.forward(cluster, (leader, now), &command, note, deadline)).await
                }
                None => Attempt::Again,
            };
            if let Attempt::Answered(applied) = attempt {
                return applied;
            }
            if let Err(stopped) = self.stop.check() {
                return Err(match stopped {
                    Stopped::Closed => WriteError::Closed,
                    Stopped::Halted(halt) => WriteError::Halted(halt),
                });
            }
            if Instant::now() >= deadline {
                return Err(WriteError::NoLeader);
            }
            // Changed, late or gone: each is a reason to look.
            drop(tokio::time::timeout(LOOK_AGAIN, leadership.changed()).await);
        }
    }

    /// Proposes what only a leader may decide, by its own clock: it is not passed on to another that leads by now, and may have decided otherwise.
    pub(crate) async fn propose_as_leader(&self, command: Command) -> Applied {
        let Some(cluster) = &self.cluster else { return self.propose(command, None).await };
        if !self.leadership.borrow().is_leader {
            return Err(WriteError::NoLeader);
        }
        match self.propose_here(&Arc::new(command), Instant::now() + cluster.request_max, None).await {
            Attempt::Answered(applied) => applied,
            Attempt::Again => Err(WriteError::NoLeader),
        }
    }

    async fn propose_here(
        &self,
        command: &Arc<Command>,
        deadline: Instant,
        times: Option<&Arc<WriteTimes>>,
    ) -> Attempt {
        let written = tokio::time::timeout_at(deadline, self.write(Arc::clone(command), times)).await;
        Attempt::Answered(match written {
            Ok(Ok(Ok(response))) => response.data,
            Ok(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => return Attempt::Again,
            Ok(Ok(Err(ClientWriteError::LogEntryDiscarded(_)))) => Err(WriteError::LeaderChanged),
            Ok(Ok(Err(error))) => Err(WriteError::Unknown(error.to_string())),
            Ok(Err(error)) => Err(self.fatal(&error)),
            Err(_late) => Err(WriteError::Timeout),
        })
    }

    /// Writes a command into the log of this member, if it leads, and waits for the answer.
    async fn write(
        &self,
        command: Arc<Command>,
        times: Option<&Arc<WriteTimes>>,
    ) -> Result<ClientWriteResult<TypeConfig>, Fatal<TypeConfig>> {
        let (caller, answer) = Caller::new();
        let proposal = Proposal { command, origin: None, back: caller.way_back(times) };
        self.raft.client_write_ff(proposal, Some(caller)).await?;
        match answer.await {
            Ok(result) => Ok(result),
            // Whoever asks now is told why consensus has ended.
            Err(_dropped) => Err(self.raft.with_raft_state(|_| ()).await.err().unwrap_or(Fatal::Stopped)),
        }
    }

    async fn forward(
        &self,
        cluster: &Cluster,
        (leader, now): (u64, Leadership),
        command: &Arc<Command>,
        note: Option<Bytes>,
        deadline: Instant,
    ) -> Attempt {
        let mut applied = self.queue.applied();
        let mut waiter = cluster.proposals.add();
        let (term, sequence) = (now.term, waiter.sequence);
        let request = Request::Forward { term, sequence, note, command: Arc::clone(command) };
        // A leader that is gone may hold up the sending for long; it is waited for only as long as it leads.
        let mut leadership = self.leadership.hearer();
        // None while it has to be sent again: the link broke, and the leader knows what it has taken.
        let mut refusal = tokio::select! {
            biased;
            sent = send(cluster, leader, &request) => match sent {
                Ok(refusal) => Some(refusal),
                Err(_not_sent) => return Attempt::Again,
            },
            Ok(()) = leadership.until(|newer| *newer != now) => return Attempt::Again, // it was not sent
        };
        // Once the fate of a sending is open, the refusal of a later one proves nothing: the leader may have taken the first, and have ended.
        let mut may_be_taken = false;
        loop {
            let later_term = async {
                drop(applied.until(|applied| applied.is_some_and(|(term, _)| term > now.term)).await);
            };
            let fate = async {
                if let Some(refusal) = refusal.as_mut() {
                    return Fate::Refusal(refusal.await);
                }
                tokio::time::sleep(LOOK_AGAIN).await;
                Fate::SentAgain(send(cluster, leader, &request).await.ok())
            };
            tokio::select! {
                biased;
                answer = &mut waiter.answer => {
                    return Attempt::Answered(answer.unwrap_or_else(|_forgotten| {
                        Err(WriteError::Unknown("this member took a snapshot meanwhile".into()))
                    }));
                }
                fate = fate => match fate {
                    Fate::Refusal(Ok(Reply::NotLeader)) if !may_be_taken => return Attempt::Again,
                    Fate::Refusal(Ok(Reply::NoSpace { free_bytes, reserve_bytes })) if !may_be_taken => {
                        let dir = format!("member {leader:016x}").into();
                        return Attempt::Answered(Err(WriteError::NoSpace { dir, free_bytes, reserve_bytes }));
                    }
                    // The entry may be in the leader's log, or not: the log will tell, or another attempt.
                    Fate::Refusal(Ok(_) | Err(_)) => {
                        refusal = None;
                        may_be_taken = true;
                    }
                    Fate::SentAgain(sent) => refusal = sent,
                },
                () = later_term => {
                    return waiter.answer.try_recv().map_or(Attempt::Again, Attempt::Answered);
                }
                () = tokio::time::sleep_until(deadline) => return Attempt::Answered(Err(WriteError::Timeout)),
            }
        }
    }

    /// Takes a command from another member, if this one leads in that term. Only a refusal is answered.
    pub(super) async fn take_forwarded(
        &self,
        origin: Origin,
        term: u64,
        command: Arc<Command>,
        note: Option<Bytes>,
    ) -> Option<Reply> {
        let (caller, answer) = Caller::new();
        let told = self.cluster.as_ref().and_then(|cluster| cluster.forwarded_writes.as_ref());
        let noted = note.zip(told).map(|(note, told)| (note, told, Arc::new(WriteTimes::default())));
        let times = noted.as_ref().map(|(_, _, times)| Arc::clone(times));
        if let Some(times) = &times {
            times.proposed();
        }
        let proposal = Proposal { back: WayBack::noting(times), ..Proposal::read(command, Some(origin)) };
        let leader = log_id(term, 0).leader_id;
        if self.raft.write(proposal).with_leader(leader).responder(caller).await.is_err() {
            return Some(Reply::Failed("consensus has ended".into()));
        }
        if let Ok(Err(ClientWriteError::ForwardToLeader(_))) = answer.await {
            return Some(Reply::NotLeader);
        }
        if let Some((note, told, times)) = noted {
            told.tell(&note, &times);
        }
        None
    }

    /// Consensus has ended: the store has too, or does now.
    pub(super) fn fatal(&self, error: &Fatal<TypeConfig>) -> WriteError {
        match self.stop.check() {
            Err(Stopped::Halted(halt)) => WriteError::Unknown(halt.to_string()),
            Err(Stopped::Closed) => WriteError::Unknown("the store was closed".into()),
            Ok(()) => {
                self.stop.halt(&format!("consensus: {error}"));
                WriteError::Unknown(error.to_string())
            }
        }
    }
}

/// Puts a request on its way to the leader. After an error it was not sent.
async fn send(cluster: &Cluster, leader: u64, request: &Request) -> Result<Answering, CallError> {
    let peer = cluster.peers.get(leader).ok_or(CallError::NoAddress)?;
    let begin = async { cluster.peers.session(&peer, Purpose::Calls).await?.begin(request).await };
    // What waits longer than this to be sent never was: the link is stuck, and the leader perhaps another by now.
    tokio::time::timeout(cluster.election_timeout, begin).await.map_err(|_late| CallError::Timeout)?
}
