//! The parts that messages are made of.
use openraft::vote::RaftLeaderId as _;

use crate::mvcc::{DecodeError, Reader};
use crate::raft::types::{LogId, Vote, log_id, term};

pub(super) fn put_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_vote(vote: &Vote, out: &mut Vec<u8>) {
    let leader = vote.leader_id();
    put_u64(leader.term, out);
    put_u64(*leader.node_id(), out);
    out.push(u8::from(vote.is_committed()));
}

pub(super) fn read_vote(reader: &mut Reader<'_>) -> Result<Vote, DecodeError> {
    let (term, node) = (reader.u64()?, reader.u64()?);
    Ok(if reader.bool()? { Vote::new_committed(term, node) } else { Vote::new(term, node) })
}

pub(super) fn put_log_id(id: Option<&LogId>, out: &mut Vec<u8>) {
    out.push(u8::from(id.is_some()));
    if let Some(id) = id {
        put_u64(term(id), out);
        put_u64(id.index, out);
    }
}

pub(super) fn read_log_id(reader: &mut Reader<'_>) -> Result<Option<LogId>, DecodeError> {
    Ok(if reader.bool()? { Some(log_id(reader.u64()?, reader.u64()?)) } else { None })
}
