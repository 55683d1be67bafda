//! Identifiers of members and clusters, computed as etcd does it, so that members that start apart find the same ones.
//! Source: `computeMemberID` and `genID` in etcd's `server/etcdserver/api/membership`.
use sha1::{Digest as _, Sha1};

use crate::api::{ClusterConfig, InitialMember, OpenError};
use crate::raft::types::MemberNode;

/// The identifier of a member: of its peer URLs, and the cluster's token (at the start) or the time (of a later addition).
pub(crate) fn member_id(peer_urls: &[String], token: &str, unix_seconds: Option<u64>) -> u64 {
    let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    let mut text = urls.concat();
    text.push_str(token);
    if let Some(seconds) = unix_seconds {
        text.push_str(&seconds.to_string());
    }
    first_bytes(text.as_bytes())
}

/// The identifier of the cluster that these members form.
pub(crate) fn cluster_id(member_ids: impl IntoIterator<Item = u64>) -> u64 {
    let mut ids: Vec<u64> = member_ids.into_iter().collect();
    ids.sort_unstable();
    let bytes: Vec<u8> = ids.into_iter().flat_map(u64::to_be_bytes).collect();
    first_bytes(&bytes)
}

fn first_bytes(bytes: &[u8]) -> u64 {
    Sha1::digest(bytes).first_chunk().map_or(1, |first| u64::from_be_bytes(*first).max(1))
}

/// The members that a cluster begins with, in the order of their identifiers.
pub(crate) fn initial_members(config: &ClusterConfig) -> Result<Vec<(u64, MemberNode)>, OpenError> {
    founders(&config.name, &config.initial, &config.token)
}

/// [`initial_members`], of a member that has no transport yet.
pub(crate) fn founders(
    name: &str,
    initial: &[InitialMember],
    token: &str,
) -> Result<Vec<(u64, MemberNode)>, OpenError> {
    let bad = |what: String| Err(OpenError::Config(what));
    let mut members: Vec<(u64, MemberNode)> = Vec::with_capacity(initial.len());
    for member in initial {
        if member.name.is_empty() || member.peer_urls.is_empty() {
            return bad("every initial member needs a name and a peer URL".into());
        }
        let mut peer_urls = member.peer_urls.clone();
        peer_urls.sort_unstable();
        let id = member_id(&peer_urls, token, None);
        if members.iter().any(|(other, node)| *other == id || node.name == member.name) {
            return bad(format!("two initial members have the name or the peer URLs of {:?}", member.name));
        }
        members.push((id, MemberNode { name: member.name.clone(), peer_urls, ..MemberNode::default() }));
    }
    members.sort_unstable_by_key(|(id, _)| *id);
    if members.iter().all(|(_, node)| node.name != name) {
        return bad(format!("this member, {name:?}, is not among the initial members"));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_etcds() {
        let urls = ["http://10.0.0.8:2379".to_owned(), "http://127.0.0.1:2379".to_owned()];
        let swapped = [urls[1].clone(), urls[0].clone()];
        assert_eq!(member_id(&urls, "abc", None), member_id(&swapped, "abc", None));
        assert_ne!(member_id(&urls, "abc", None), member_id(&urls, "abc", Some(1)));
        // What every etcd started without flags calls itself.
        let alone = ["http://localhost:2380".to_owned()];
        assert_eq!(member_id(&alone, "etcd-cluster", None), 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster_id([0x8e9e_05c5_2164_694d]), 0xcdf8_1819_4e3a_8c32);
    }
}
