//! Memberships as bytes, in log entries and in the tables.
use std::collections::{BTreeMap, BTreeSet};

use openraft::impls::BasicNode;

use super::types::{Membership, StoredMembership, log_id, term};
use crate::mvcc::{DecodeError, Reader, put_bytes};

pub(super) fn encode(membership: &Membership, out: &mut Vec<u8>) {
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
        put_bytes(node.addr.as_bytes(), out);
    }
}

pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Membership, DecodeError> {
    let bad = DecodeError::Unknown { what: "membership", found: 0 };
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
        let length = reader.u32()? as usize;
        let address = std::str::from_utf8(reader.take(length)?).map_err(|_not_text| bad.clone())?;
        nodes.insert(id, BasicNode::new(address));
    }
    Membership::new(configs, nodes).map_err(|_inconsistent| bad)
}

pub(super) fn encode_stored(stored: &StoredMembership) -> Vec<u8> {
    let mut out = vec![1];
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

pub(super) fn decode_stored(bytes: &[u8]) -> Result<StoredMembership, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    if version != 1 {
        return Err(DecodeError::Unknown { what: "membership version", found: version.into() });
    }
    let id = if reader.bool()? { Some(log_id(reader.u64()?, reader.u64()?)) } else { None };
    let membership = decode(&mut reader)?;
    reader.finish()?;
    Ok(StoredMembership::new(id, membership))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_comes_back_as_it_was() {
        let nodes =
            BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2")), (3, BasicNode::new(""))]);
        let membership = Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1])], nodes).unwrap();
        let stored = StoredMembership::new(Some(log_id(3, 9)), membership);
        assert_eq!(decode_stored(&encode_stored(&stored)), Ok(stored.clone()));
        let bytes = encode_stored(&stored);
        assert!(decode_stored(&bytes[..bytes.len() - 1]).is_err());
    }
}
