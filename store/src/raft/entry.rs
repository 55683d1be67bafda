//! Log entries as bytes, in the log's files and between members. A kind that was once written is read for ever.
use std::sync::Arc;

use openraft::EntryPayload;

use super::membership;
use super::types::{Entry, Origin, Proposal, log_id, term};
use crate::mvcc::{DecodeError, Reader, decode_command, encode_command};

/// Appends an entry to `out`.
pub(crate) fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(&term(&entry.log_id).to_le_bytes());
    out.extend_from_slice(&entry.log_id.index.to_le_bytes());
    match &entry.payload {
        EntryPayload::Blank => out.push(0),
        EntryPayload::Normal(Proposal { command, origin: None, .. }) => {
            out.push(1);
            encode_command(command, out);
        }
        EntryPayload::Membership(members) => {
            out.push(3);
            membership::encode(members, out);
        }
        EntryPayload::Normal(Proposal { command, origin: Some(origin), .. }) => {
            out.push(4);
            out.extend_from_slice(&origin.member.to_le_bytes());
            out.extend_from_slice(&origin.sequence.to_le_bytes());
            encode_command(command, out);
        }
    }
}

pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let mut reader = Reader::new(bytes);
    let log_id = log_id(reader.u64()?, reader.u64()?);
    let payload = match reader.u8()? {
        0 => EntryPayload::Blank,
        1 => return decode_proposal(&reader, None).map(|payload| Entry { log_id, payload }),
        // Written before members had names.
        2 => EntryPayload::Membership(membership::decode_v1(&mut reader)?),
        3 => EntryPayload::Membership(membership::decode(&mut reader)?),
        4 => {
            let origin = Some(Origin { member: reader.u64()?, sequence: reader.u64()? });
            return decode_proposal(&reader, origin).map(|payload| Entry { log_id, payload });
        }
        found => return Err(DecodeError::Unknown { what: "payload", found: found.into() }),
    };
    reader.finish()?;
    Ok(Entry { log_id, payload })
}

fn decode_proposal(
    reader: &Reader<'_>,
    origin: Option<Origin>,
) -> Result<EntryPayload<Proposal, u64, super::types::MemberNode>, DecodeError> {
    let command = Arc::new(decode_command(reader.rest())?);
    Ok(EntryPayload::Normal(Proposal::read(command, origin)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::mvcc::Command;
    use crate::raft::types::{MemberNode, Membership};

    fn entries() -> Vec<Entry> {
        let command = || Command::Put(crate::PutRequest::new("key", "value"));
        let origin = Some(Origin { member: 7, sequence: 99 });
        let node =
            MemberNode { name: "a".into(), peer_urls: vec!["http://a:1".into()], ..MemberNode::default() };
        let members = Membership::new(vec![BTreeSet::from([7])], BTreeMap::from([(7, node)])).unwrap();
        [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal::new(command())),
            EntryPayload::Membership(members),
            EntryPayload::Normal(Proposal { origin, ..Proposal::new(command()) }),
        ]
        .into_iter()
        .map(|payload| Entry { log_id: log_id(3, 12), payload })
        .collect()
    }

    #[test]
    fn entries_come_back_as_they_were_and_their_bytes_stay_as_they_are() {
        let mut all = Vec::new();
        for entry in entries() {
            let mut bytes = Vec::new();
            encode_entry(&entry, &mut bytes);
            assert_eq!(decode_entry(&bytes), Ok(entry));
            all.extend(bytes);
        }
        crate::golden::check("entry-v2.hex", &crate::golden::hex(&all));
    }
}
