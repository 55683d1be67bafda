//! Requests between members and their answers. A request frame is its kind, a number that the answer repeats, and the rest.
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest, VoteResponse};

use super::codec::{put_log_id, put_u64, put_vote, read_log_id, read_vote};
use super::hello::{HASTE_SINCE, NOTES_SINCE};
use crate::api::{ClusterError, LeaseId, NOTE_BYTES_MAX};
use crate::mvcc::{Command, DecodeError, Reader, decode_command, encode_command, put_bytes};
use crate::raft::changes::Change;
use crate::raft::entry::{decode_entry, encode_entry};
use crate::raft::membership::{self, put_texts, text, texts};
use crate::raft::reads::Haste;
use crate::raft::types::{LogId, SnapshotMeta, TypeConfig, Vote};

/// What one member asks of another.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Transfer(TransferLeaderRequest<TypeConfig>),
    /// A command for the leader of this term, and of no other. Only a refusal is answered: the entry itself comes back through the log.
    Forward {
        term: u64,
        sequence: u64,
        /// What the leader's embedder is told of it. It is left out for a leader that knows no notes.
        note: Option<bytes::Bytes>,
        command: std::sync::Arc<Command>,
    },
    /// The index that a read must wait for. A leader that knows no haste is asked for one at once.
    ReadIndex(Haste),
    LeaseKeepAlive(LeaseId),
    LeaseTimeToLive(LeaseId),
    Change(Change),
    /// A snapshot begins; parts and an end follow on the same link.
    SnapshotBegin {
        vote: Vote,
        meta: SnapshotMeta,
    },
    /// Rows of the tables, in order.
    SnapshotRows(bytes::Bytes),
    /// All rows were sent; what their count and checksum must be.
    SnapshotEnd {
        rows: u64,
        checksum: u32,
    },
    /// Nothing, but that this process is there.
    Ping,
    /// Whether the member's disk has room for writes.
    Room,
}

/// The answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Appended,
    Conflict,
    HigherVote(Vote),
    Vote(VoteResponse<TypeConfig>),
    Transferred,
    /// To anything that only a leader can do: this member is not, or not of that term any more.
    NotLeader,
    /// The member could not; the text is for logs.
    Failed(String),
    ReadIndex(u64),
    /// The time to live that was granted and what is left of it, in milliseconds; none if there is no such lease.
    Lease(Option<(u64, u64)>),
    Changed(Result<u64, ClusterError>),
    /// A snapshot was installed, or refused because of a higher vote.
    Installed(Vote),
    /// The disk of the member that was asked is full.
    NoSpace {
        free_bytes: u64,
        reserve_bytes: u64,
    },
    /// To a ping, and from a member whose disk is not full.
    Pong,
}

impl Request {
    /// The frame for a member that speaks this version.
    pub(crate) fn encode(&self, version: u16, number: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let has_notes = version >= NOTES_SINCE;
        let kind = match self {
            Self::Append(_) => 1,
            Self::Vote(_) => 2,
            Self::PreVote(_) => 3,
            Self::Transfer(_) => 4,
            Self::Forward { note: Some(_), .. } if has_notes => 15,
            Self::Forward { .. } => 5,
            Self::ReadIndex(Haste::Heartbeat) if version >= HASTE_SINCE => 16,
            Self::ReadIndex(_) => 6,
            Self::LeaseKeepAlive(_) => 7,
            Self::LeaseTimeToLive(_) => 8,
            Self::Change(_) => 9,
            Self::SnapshotBegin { .. } => 10,
            Self::SnapshotRows(_) => 11,
            Self::SnapshotEnd { .. } => 12,
            Self::Ping => 13,
            Self::Room => 14,
        };
        out.push(kind);
        put_u64(number, &mut out);
        self.encode_body(has_notes, &mut out);
        out
    }

    fn encode_body(&self, has_notes: bool, out: &mut Vec<u8>) {
        match self {
            Self::Append(append) => put_append(append, out),
            Self::Vote(vote) | Self::PreVote(vote) => {
                put_vote(&vote.vote, out);
                put_log_id(vote.last_log_id.as_ref(), out);
                out.push(u8::from(vote.leadership_transfer));
            }
            Self::Transfer(transfer) => {
                put_vote(transfer.from_leader(), out);
                put_u64(*transfer.to_node_id(), out);
                put_log_id(transfer.last_log_id(), out);
            }
            Self::Forward { term, sequence, note, command } => {
                put_u64(*term, out);
                put_u64(*sequence, out);
                if let Some(note) = note.as_ref().filter(|_| has_notes) {
                    put_bytes(note, out);
                }
                encode_command(command, out);
            }
            Self::ReadIndex(_) | Self::Ping | Self::Room => {}
            Self::LeaseKeepAlive(id) | Self::LeaseTimeToLive(id) => put_u64(id.0 as u64, out),
            Self::Change(change) => put_change(change, out),
            Self::SnapshotBegin { vote, meta } => {
                put_vote(vote, out);
                put_log_id(meta.last_log_id.as_ref(), out);
                put_bytes(&membership::encode_stored(&meta.last_membership), out);
            }
            Self::SnapshotRows(rows) => out.extend_from_slice(rows),
            Self::SnapshotEnd { rows, checksum } => {
                put_u64(*rows, out);
                out.extend_from_slice(&checksum.to_le_bytes());
            }
        }
    }

    /// The number and the request.
    pub(crate) fn decode(frame: &bytes::Bytes) -> Result<(u64, Self), DecodeError> {
        let mut reader = Reader::new(frame);
        let kind = reader.u8()?;
        let number = reader.u64()?;
        let request = match kind {
            1 => Self::Append(read_append(&mut reader)?),
            2 => Self::Vote(read_vote_request(&mut reader)?),
            3 => Self::PreVote(read_vote_request(&mut reader)?),
            4 => Self::Transfer(TransferLeaderRequest::new(
                read_vote(&mut reader)?,
                reader.u64()?,
                read_log_id(&mut reader)?,
            )),
            5 | 15 => {
                let (term, sequence) = (reader.u64()?, reader.u64()?);
                let note = (kind == 15).then(|| read_note(&mut reader)).transpose()?;
                let command = std::sync::Arc::new(decode_command(reader.rest())?);
                return Ok((number, Self::Forward { term, sequence, note, command }));
            }
            6 => Self::ReadIndex(Haste::Now),
            7 => Self::LeaseKeepAlive(LeaseId(reader.i64()?)),
            8 => Self::LeaseTimeToLive(LeaseId(reader.i64()?)),
            9 => Self::Change(read_change(&mut reader)?),
            10 => {
                let vote = read_vote(&mut reader)?;
                let last_log_id = read_log_id(&mut reader)?;
                let length = reader.u32()? as usize;
                let last_membership = membership::decode_stored(reader.take(length)?)?;
                Self::SnapshotBegin { vote, meta: SnapshotMeta { last_log_id, last_membership } }
            }
            11 => return Ok((number, Self::SnapshotRows(frame.slice_ref(reader.rest())))),
            12 => Self::SnapshotEnd { rows: reader.u64()?, checksum: reader.u32()? },
            13 => Self::Ping,
            14 => Self::Room,
            16 => Self::ReadIndex(Haste::Heartbeat),
            found => return Err(DecodeError::Unknown { what: "request", found: found.into() }),
        };
        reader.finish()?;
        Ok((number, request))
    }
}

fn read_note(reader: &mut Reader<'_>) -> Result<bytes::Bytes, DecodeError> {
    let length = reader.u32()?;
    if length as usize > NOTE_BYTES_MAX {
        return Err(DecodeError::Unknown { what: "length of a note", found: length.into() });
    }
    Ok(bytes::Bytes::copy_from_slice(reader.take(length as usize)?))
}

fn put_append(append: &AppendEntriesRequest<TypeConfig>, out: &mut Vec<u8>) {
    put_vote(&append.vote, out);
    put_log_id(append.prev_log_id.as_ref(), out);
    put_log_id(append.leader_commit.as_ref(), out);
    put_u64(append.entries.len() as u64, out);
    for entry in &append.entries {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        encode_entry(entry, out);
        let length = (out.len() - start - 4) as u32;
        for (to, from) in out.iter_mut().skip(start).zip(length.to_le_bytes()) {
            *to = from;
        }
    }
}

fn read_append(reader: &mut Reader<'_>) -> Result<AppendEntriesRequest<TypeConfig>, DecodeError> {
    let vote = read_vote(reader)?;
    let prev_log_id = read_log_id(reader)?;
    let leader_commit = read_log_id(reader)?;
    let count = reader.count()?;
    let mut entries = Vec::with_capacity(count.min(1024));
    let mut next = prev_log_id.as_ref().map_or(0, |id: &LogId| id.index.saturating_add(1));
    for _ in 0..count {
        let length = reader.u32()? as usize;
        let entry = decode_entry(reader.take(length)?)?;
        // Consensus takes it for granted that entries follow each other.
        if entry.log_id.index != next {
            return Err(DecodeError::Unknown { what: "order of log entries", found: entry.log_id.index });
        }
        next = next.saturating_add(1);
        entries.push(entry);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

fn read_vote_request(reader: &mut Reader<'_>) -> Result<VoteRequest<TypeConfig>, DecodeError> {
    let mut request = VoteRequest::new(read_vote(reader)?, read_log_id(reader)?);
    request.leadership_transfer = reader.bool()?;
    Ok(request)
}

fn put_change(change: &Change, out: &mut Vec<u8>) {
    match change {
        Change::Add { peer_urls, learner } => {
            out.push(1);
            put_texts(peer_urls, out);
            out.push(u8::from(*learner));
        }
        Change::Remove(id) => {
            out.push(2);
            put_u64(*id, out);
        }
        Change::Update { id, peer_urls } => {
            out.push(3);
            put_u64(*id, out);
            put_texts(peer_urls, out);
        }
        Change::Promote(id) => {
            out.push(4);
            put_u64(*id, out);
        }
        Change::Publish { id, name, client_urls } => {
            out.push(5);
            put_u64(*id, out);
            put_bytes(name.as_bytes(), out);
            put_texts(client_urls, out);
        }
    }
}

fn read_change(reader: &mut Reader<'_>) -> Result<Change, DecodeError> {
    Ok(match reader.u8()? {
        1 => Change::Add { peer_urls: texts(reader)?, learner: reader.bool()? },
        2 => Change::Remove(reader.u64()?),
        3 => Change::Update { id: reader.u64()?, peer_urls: texts(reader)? },
        4 => Change::Promote(reader.u64()?),
        5 => Change::Publish { id: reader.u64()?, name: text(reader)?, client_urls: texts(reader)? },
        found => return Err(DecodeError::Unknown { what: "change of members", found: found.into() }),
    })
}

impl Reply {
    pub(crate) fn encode(&self, number: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        let kind = match self {
            Self::Appended => 1,
            Self::Conflict => 2,
            Self::HigherVote(_) => 3,
            Self::Vote(_) => 4,
            Self::Transferred => 5,
            Self::NotLeader => 6,
            Self::Failed(_) => 7,
            Self::ReadIndex(_) => 8,
            Self::Lease(_) => 9,
            Self::Changed(_) => 10,
            Self::Installed(_) => 11,
            Self::NoSpace { .. } => 12,
            Self::Pong => 13,
        };
        out.push(kind);
        put_u64(number, &mut out);
        match self {
            Self::Appended | Self::Conflict | Self::Transferred | Self::NotLeader | Self::Pong => {}
            Self::HigherVote(vote) | Self::Installed(vote) => put_vote(vote, &mut out),
            Self::Vote(response) => {
                put_vote(&response.vote, &mut out);
                out.push(u8::from(response.vote_granted));
                put_log_id(response.last_log_id.as_ref(), &mut out);
            }
            Self::Failed(why) => put_bytes(why.as_bytes(), &mut out),
            Self::ReadIndex(index) => put_u64(*index, &mut out),
            Self::Lease(left) => {
                out.push(u8::from(left.is_some()));
                if let Some((granted, left)) = left {
                    put_u64(*granted, &mut out);
                    put_u64(*left, &mut out);
                }
            }
            Self::NoSpace { free_bytes, reserve_bytes } => {
                put_u64(*free_bytes, &mut out);
                put_u64(*reserve_bytes, &mut out);
            }
            Self::Changed(Ok(id)) => {
                out.push(1);
                put_u64(*id, &mut out);
            }
            Self::Changed(Err(refusal)) => {
                out.push(0);
                put_cluster_error(refusal, &mut out);
            }
        }
        out
    }

    /// The number of the request, and the answer to it.
    pub(crate) fn decode(frame: &[u8]) -> Result<(u64, Self), DecodeError> {
        let mut reader = Reader::new(frame);
        let kind = reader.u8()?;
        let number = reader.u64()?;
        let reply = match kind {
            1 => Self::Appended,
            2 => Self::Conflict,
            3 => Self::HigherVote(read_vote(&mut reader)?),
            4 => {
                let (vote, granted) = (read_vote(&mut reader)?, reader.bool()?);
                Self::Vote(VoteResponse::new(vote, read_log_id(&mut reader)?, granted))
            }
            5 => Self::Transferred,
            6 => Self::NotLeader,
            7 => Self::Failed(text(&mut reader)?),
            8 => Self::ReadIndex(reader.u64()?),
            9 => Self::Lease(if reader.bool()? { Some((reader.u64()?, reader.u64()?)) } else { None }),
            10 => Self::Changed(if reader.bool()? {
                Ok(reader.u64()?)
            } else {
                Err(read_cluster_error(&mut reader)?)
            }),
            11 => Self::Installed(read_vote(&mut reader)?),
            12 => Self::NoSpace { free_bytes: reader.u64()?, reserve_bytes: reader.u64()? },
            13 => Self::Pong,
            found => return Err(DecodeError::Unknown { what: "reply", found: found.into() }),
        };
        reader.finish()?;
        Ok((number, reply))
    }
}

fn put_cluster_error(error: &ClusterError, out: &mut Vec<u8>) {
    let (kind, number, text) = match error {
        ClusterError::MemberNotFound(id) => (1, *id, ""),
        ClusterError::MemberExists(id) => (2, *id, ""),
        ClusterError::PeerUrlExists(url) => (3, 0, url.as_str()),
        ClusterError::BadUrl(url) => (4, 0, url.as_str()),
        ClusterError::TooManyLearners { max } => (5, *max as u64, ""),
        ClusterError::NotLearner(id) => (6, *id, ""),
        ClusterError::LearnerNotReady(id) => (7, *id, ""),
        ClusterError::NotEnoughStarted => (8, 0, ""),
        ClusterError::Unhealthy => (9, 0, ""),
        ClusterError::NotLeader => (10, 0, ""),
        ClusterError::NoLeader => (11, 0, ""),
        ClusterError::LeaderChanged => (12, 0, ""),
        ClusterError::Timeout => (13, 0, ""),
        ClusterError::TransferTimeout => (14, 0, ""),
        ClusterError::BadTransferee(id) => (15, *id, ""),
        ClusterError::Alone => (16, 0, ""),
        ClusterError::Busy => (17, 0, ""),
        ClusterError::Raft(text) => (18, 0, text.as_str()),
        // The one who asked is told why it got no answer, not that *it* is closed.
        ClusterError::Closed | ClusterError::Halted(_) => (18, 0, "the leader is closing"),
    };
    out.push(kind);
    put_u64(number, out);
    put_bytes(text.as_bytes(), out);
}

fn read_cluster_error(reader: &mut Reader<'_>) -> Result<ClusterError, DecodeError> {
    let (kind, number, text) = (reader.u8()?, reader.u64()?, text(reader)?);
    Ok(match kind {
        1 => ClusterError::MemberNotFound(number),
        2 => ClusterError::MemberExists(number),
        3 => ClusterError::PeerUrlExists(text),
        4 => ClusterError::BadUrl(text),
        5 => ClusterError::TooManyLearners { max: number as usize },
        6 => ClusterError::NotLearner(number),
        7 => ClusterError::LearnerNotReady(number),
        8 => ClusterError::NotEnoughStarted,
        9 => ClusterError::Unhealthy,
        10 => ClusterError::NotLeader,
        11 => ClusterError::NoLeader,
        12 => ClusterError::LeaderChanged,
        13 => ClusterError::Timeout,
        14 => ClusterError::TransferTimeout,
        15 => ClusterError::BadTransferee(number),
        16 => ClusterError::Alone,
        17 => ClusterError::Busy,
        18 => ClusterError::Raft(text),
        found => return Err(DecodeError::Unknown { what: "refusal", found: found.into() }),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use openraft::EntryPayload;
    use proptest::prelude::*;

    use super::super::hello::PROTOCOL_VERSION;
    use super::*;
    use crate::api::PutRequest;
    use crate::raft::types::{Entry, MemberNode, Membership, Proposal, StoredMembership, log_id};

    fn requests() -> Vec<Request> {
        let command = Arc::new(Command::Put(crate::PutRequest::new("key", "value")));
        let entry = |index, payload| Entry { log_id: log_id(3, index), payload };
        let proposal = Proposal::read(Arc::clone(&command), None);
        let node =
            MemberNode { name: "a".into(), peer_urls: vec!["http://a:1".into()], ..MemberNode::default() };
        let members = Membership::new(vec![BTreeSet::from([7])], BTreeMap::from([(7, node)])).unwrap();
        let last_membership = StoredMembership::new(Some(log_id(1, 2)), members.clone());
        vec![
            Request::Append(AppendEntriesRequest {
                vote: Vote::new_committed(3, 7),
                prev_log_id: Some(log_id(2, 11)),
                entries: vec![
                    entry(12, EntryPayload::Normal(proposal)),
                    entry(13, EntryPayload::Membership(members)),
                    entry(14, EntryPayload::Blank),
                ],
                leader_commit: Some(log_id(3, 12)),
            }),
            Request::Vote(VoteRequest::new(Vote::new(4, 7), Some(log_id(3, 14)))),
            Request::PreVote(VoteRequest::new(Vote::new(4, 7), None)),
            Request::Transfer(TransferLeaderRequest::new(Vote::new_committed(4, 7), 8, Some(log_id(3, 14)))),
            Request::Forward { term: 4, sequence: 99, note: None, command: std::sync::Arc::clone(&command) },
            Request::ReadIndex(Haste::Now),
            Request::LeaseKeepAlive(LeaseId(5)),
            Request::LeaseTimeToLive(LeaseId(5)),
            Request::Change(Change::Add { peer_urls: vec!["http://b:1".into()], learner: true }),
            Request::Change(Change::Remove(8)),
            Request::Change(Change::Update { id: 8, peer_urls: vec!["http://c:1".into()] }),
            Request::Change(Change::Promote(8)),
            Request::Change(Change::Publish { id: 8, name: "b".into(), client_urls: vec![] }),
            Request::SnapshotBegin {
                vote: Vote::new_committed(4, 7),
                meta: SnapshotMeta { last_log_id: Some(log_id(3, 14)), last_membership },
            },
            Request::SnapshotRows(bytes::Bytes::from_static(b"rows")),
            Request::SnapshotEnd { rows: 3, checksum: 77 },
            Request::Ping,
            Request::Room,
            Request::Forward {
                term: 4,
                sequence: 99,
                note: Some(bytes::Bytes::from_static(b"note")),
                command,
            },
            Request::ReadIndex(Haste::Heartbeat),
        ]
    }

    #[test]
    fn a_note_that_is_too_long_is_refused() {
        let forward = |bytes: usize| {
            let command = Arc::new(Command::Put(PutRequest::new("k", "v")));
            Request::Forward { term: 4, sequence: 99, note: Some(vec![7; bytes].into()), command }
        };
        let decode = |request: &Request| Request::decode(&request.encode(PROTOCOL_VERSION, 1).into());
        assert!(matches!(
            decode(&forward(NOTE_BYTES_MAX)),
            Ok((1, Request::Forward { note: Some(note), .. })) if note.len() == NOTE_BYTES_MAX
        ));
        assert!(decode(&forward(NOTE_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_member_of_before_is_sent_no_note_and_no_haste_and_all_else_as_it_was() {
        let kind = |version, request: &Request| request.encode(version, 1)[0];
        for request in requests() {
            let (old, new) = (request.encode(1, 1), request.encode(PROTOCOL_VERSION, 1));
            if let Request::Forward { term, sequence, note: Some(_), command } = request {
                let without = Request::Forward { term, sequence, note: None, command };
                assert_eq!(old, without.encode(1, 1));
                assert_eq!((kind(1, &without), new[0]), (5, 15));
            } else if matches!(request, Request::ReadIndex(Haste::Heartbeat)) {
                assert_eq!((old, new[0]), (Request::ReadIndex(Haste::Now).encode(1, 1), 16));
            } else {
                assert_eq!(old, new, "{request:?}");
                assert!(kind(1, &request) <= 14, "a new kind is not for a member of before: {request:?}");
            }
        }
    }

    fn replies() -> Vec<Reply> {
        let mut replies = vec![
            Reply::Appended,
            Reply::Conflict,
            Reply::HigherVote(Vote::new(5, 8)),
            Reply::Vote(VoteResponse::new(Vote::new(5, 8), Some(log_id(3, 14)), true)),
            Reply::Transferred,
            Reply::NotLeader,
            Reply::Failed("why".into()),
            Reply::ReadIndex(14),
            Reply::Lease(None),
            Reply::Lease(Some((5000, 1200))),
            Reply::Changed(Ok(8)),
            Reply::Installed(Vote::new_committed(4, 7)),
            Reply::NoSpace { free_bytes: 1, reserve_bytes: 2 },
            Reply::Pong,
        ];
        let errors = [
            ClusterError::MemberNotFound(8),
            ClusterError::PeerUrlExists("http://b:1".into()),
            ClusterError::TooManyLearners { max: 1 },
            ClusterError::Unhealthy,
            ClusterError::Raft("why".into()),
        ];
        replies.extend(errors.map(|error| Reply::Changed(Err(error))));
        replies
    }

    #[test]
    fn messages_come_back_as_they_were_and_their_bytes_stay_as_they_are() {
        let mut all = String::new();
        for (number, request) in requests().into_iter().enumerate() {
            let bytes = request.encode(PROTOCOL_VERSION, number as u64);
            let (back, decoded) = Request::decode(&bytes.clone().into()).unwrap();
            let again = decoded.encode(PROTOCOL_VERSION, back);
            assert_eq!((back, again), (number as u64, bytes.clone()), "{request:?}");
            all.push_str(&crate::golden::hex(&bytes));
            all.push('\n');
        }
        for (number, reply) in replies().into_iter().enumerate() {
            let bytes = reply.encode(number as u64);
            assert_eq!(Reply::decode(&bytes), Ok((number as u64, reply)));
            all.push_str(&crate::golden::hex(&bytes));
            all.push('\n');
        }
        crate::golden::check("wire-v2.hex", all.trim_end());
    }

    #[test]
    fn entries_that_do_not_follow_each_other_are_refused() {
        let entry = |index| Entry { log_id: log_id(3, index), payload: EntryPayload::Blank };
        for indexes in [[12, 14], [11, 12], [12, 12]] {
            let append = AppendEntriesRequest {
                vote: Vote::new_committed(3, 7),
                prev_log_id: Some(log_id(2, 11)),
                entries: indexes.map(entry).to_vec(),
                leader_commit: None,
            };
            assert!(
                Request::decode(&Request::Append(append).encode(PROTOCOL_VERSION, 1).into()).is_err(),
                "{indexes:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(kind in 0_u8..18, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let frame: bytes::Bytes = [&[kind][..], &bytes].concat().into();
            let _request = Request::decode(&frame);
            let _reply = Reply::decode(&frame);
        }
    }
}
