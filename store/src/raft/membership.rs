//! Memberships as bytes, in log entries, in the tables and between members.
use std::collections::{BTreeMap, BTreeSet};

use super::types::{MemberNode, Membership, StoredMembership, log_id, term};
use crate::mvcc::{DecodeError, Reader, put_bytes};

/// The version that is written to the tables. Version 1 had an address where names and URLs are now.
const STORED_VERSION: u8 = 2;

pub(crate) fn encode(membership: &Membership, out: &mut Vec<u8>) {
    let configs = membership.get_joint_config();
    out.extend_from_slice(&(configs.len() as u64).to_le_bytes());
    for voters in configs {
        out.extend_from_slice(&(voters.len() as u64).to_le_bytes());
        for voter in voters {
            out.extend_from_slice(&voter.to_le_bytes());
        }
    }
    let nodes: Vec<_> = membership.nodes().collect();
    out.extend_from_slice(&(nodes.len() as u64).to_le_bytes());
    for (id, node) in nodes {
        out.extend_from_slice(&id.to_le_bytes());
        encode_node(node, out);
    }
}

pub(crate) fn encode_node(node: &MemberNode, out: &mut Vec<u8>) {
    put_bytes(node.name.as_bytes(), out);
    put_texts(&node.peer_urls, out);
    put_texts(&node.client_urls, out);
    out.push(u8::from(node.vote_due));
}

pub(crate) fn put_texts(texts: &[String], out: &mut Vec<u8>) {
    out.extend_from_slice(&(texts.len() as u64).to_le_bytes());
    for text in texts {
        put_bytes(text.as_bytes(), out);
    }
}

pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Membership, DecodeError> {
    decode_with(reader, decode_node)
}

/// Version 1: each node was an address, or `local` for a member that was alone.
pub(crate) fn decode_v1(reader: &mut Reader<'_>) -> Result<Membership, DecodeError> {
    decode_with(reader, |reader| {
        let address = text(reader)?;
        let peer_urls = if address.is_empty() || address == "local" { Vec::new() } else { vec![address] };
        Ok(MemberNode { peer_urls, ..MemberNode::default() })
    })
}

pub(crate) fn decode_node(reader: &mut Reader<'_>) -> Result<MemberNode, DecodeError> {
    Ok(MemberNode {
        name: text(reader)?,
        peer_urls: texts(reader)?,
        client_urls: texts(reader)?,
        vote_due: reader.bool()?,
    })
}

pub(crate) fn text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let length = reader.u32()? as usize;
    match std::str::from_utf8(reader.take(length)?) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(DecodeError::Unknown { what: "text", found: error.valid_up_to() as u64 }),
    }
}

pub(crate) fn texts(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    (0..reader.count()?).map(|_| text(reader)).collect()
}

fn decode_with(
    reader: &mut Reader<'_>,
    node: impl Fn(&mut Reader<'_>) -> Result<MemberNode, DecodeError>,
) -> Result<Membership, DecodeError> {
    let mut configs = Vec::new();
    for _ in 0..reader.count()? {
        let mut voters = BTreeSet::new();
        for _ in 0..reader.count()? {
            voters.insert(reader.u64()?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..reader.count()? {
        let id = reader.u64()?;
        nodes.insert(id, node(reader)?);
    }
    Membership::new(configs, nodes)
        .map_err(|_inconsistent| DecodeError::Unknown { what: "membership", found: 0 })
}

pub(crate) fn encode_stored(stored: &StoredMembership) -> Vec<u8> {
    let mut out = vec![STORED_VERSION];
    match stored.log_id() {
        None => out.push(0),
        Some(id) => {
            out.push(1);
            out.extend_from_slice(&term(id).to_le_bytes());
            out.extend_from_slice(&id.index.to_le_bytes());
        }
    }
    encode(stored.membership(), &mut out);
    out
}

pub(crate) fn decode_stored(bytes: &[u8]) -> Result<StoredMembership, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    let id = if reader.bool()? { Some(log_id(reader.u64()?, reader.u64()?)) } else { None };
    let membership = match version {
        1 => decode_v1(&mut reader)?,
        STORED_VERSION => decode(&mut reader)?,
        found => return Err(DecodeError::Unknown { what: "membership version", found: found.into() }),
    };
    reader.finish()?;
    Ok(StoredMembership::new(id, membership))
}

/// How many members a stored membership has.
pub(crate) fn members_of(bytes: &[u8]) -> Result<usize, DecodeError> {
    Ok(decode_stored(bytes)?.membership().nodes().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> MemberNode {
        MemberNode {
            name: name.into(),
            peer_urls: vec![format!("http://{name}:2380")],
            client_urls: vec![format!("http://{name}:2379"), "unix://x".into()],
            vote_due: name == "b",
        }
    }

    fn sample() -> StoredMembership {
        let nodes = BTreeMap::from([(1, node("a")), (2, node("b")), (3, MemberNode::default())]);
        let membership = Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1])], nodes).unwrap();
        StoredMembership::new(Some(log_id(3, 9)), membership)
    }

    #[test]
    fn a_membership_comes_back_as_it_was() {
        let bytes = encode_stored(&sample());
        assert_eq!(decode_stored(&bytes), Ok(sample()));
        for end in 0..bytes.len() {
            assert!(decode_stored(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_bytes_of_version_2_stay_as_they_are() {
        crate::golden::check("membership-v2.hex", &crate::golden::hex(&encode_stored(&sample())));
    }

    #[test]
    fn version_1_is_still_read() {
        let mut bytes = vec![1, 1];
        bytes.extend(3_u64.to_le_bytes());
        bytes.extend(9_u64.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(7_u64.to_le_bytes());
        put_bytes(b"local", &mut bytes);
        let nodes = BTreeMap::from([(7, MemberNode::default())]);
        let membership = Membership::new(vec![BTreeSet::from([7])], nodes).unwrap();
        assert_eq!(decode_stored(&bytes), Ok(StoredMembership::new(Some(log_id(3, 9)), membership)));
    }
}
