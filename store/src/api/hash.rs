//! Checksums of the state, to compare members with.
use std::collections::BTreeMap;

use super::Revision;

/// A checksum of the keys and values between the compaction floor and a revision; what etcd's HashKV tells.
///
/// Two members that have applied the same writes have the same hash for the same pair of revisions, however far each has got with giving
/// back the space of old versions. The figure is this store's own: it does not equal that of an etcd with the same keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC32C over keys, revisions and values, in key order.
    pub hash: u32,
    /// The floor that it begins at; zero if nothing was ever compacted.
    pub compact_revision: Revision,
    /// The revision that it ends at.
    pub hash_revision: Revision,
    /// The store's current revision.
    pub revision: Revision,
}

/// One member's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberHash {
    /// The member.
    pub member_id: u64,
    /// What it answered.
    pub hash: HashKv,
}

/// What a comparison of hashes says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashComparison {
    /// All that can be compared agree. So many were compared.
    Equal {
        /// How many members.
        members: usize,
    },
    /// A majority of the cluster agrees, and these do not.
    Differ {
        /// The members whose data is wrong, in order.
        members: Vec<u64>,
    },
    /// There are different hashes, and none has a majority: nobody knows who is right.
    Undecided {
        /// All members with a comparable hash, in order.
        members: Vec<u64>,
    },
}

/// Compares the hashes of members at the same pair of revisions as the first one's. Others are left out: they say nothing.
///
/// `cluster_size` is the number of voting members, also of those that did not answer; more than half of it is a majority.
///
/// ```
/// use mainstay_store::{HashComparison, HashKv, MemberHash, Revision, compare_hashes};
/// let of = |member_id, hash| MemberHash {
///     member_id,
///     hash: HashKv { hash, compact_revision: Revision(3), hash_revision: Revision(9), revision: Revision(9) },
/// };
/// let found = compare_hashes(&[of(1, 7), of(2, 8), of(3, 7)], 3);
/// assert_eq!(found, HashComparison::Differ { members: vec![2] });
/// ```
pub fn compare_hashes(hashes: &[MemberHash], cluster_size: usize) -> HashComparison {
    let Some(first) = hashes.first().map(|member| member.hash) else {
        return HashComparison::Equal { members: 0 };
    };
    let span = |hash: &HashKv| (hash.compact_revision, hash.hash_revision);
    let mut by_hash: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for member in hashes.iter().filter(|member| span(&member.hash) == span(&first)) {
        by_hash.entry(member.hash.hash).or_default().push(member.member_id);
    }
    let compared: usize = by_hash.values().map(Vec::len).sum();
    if by_hash.len() == 1 {
        return HashComparison::Equal { members: compared };
    }
    let right = by_hash.iter().find(|(_, members)| members.len() > cluster_size / 2).map(|(hash, _)| *hash);
    let mut members: Vec<u64> = by_hash
        .into_iter()
        .filter(|(hash, _)| Some(*hash) != right)
        .flat_map(|(_, members)| members)
        .collect();
    members.sort_unstable();
    match right {
        Some(_) => HashComparison::Differ { members },
        None => HashComparison::Undecided { members },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(member_id: u64, hash: u32, compacted: i64) -> MemberHash {
        let hash = HashKv {
            hash,
            compact_revision: Revision(compacted),
            hash_revision: Revision(9),
            revision: Revision(12),
        };
        MemberHash { member_id, hash }
    }

    #[test]
    fn only_hashes_of_the_same_span_are_compared() {
        let hashes = [of(1, 7, 3), of(2, 8, 4), of(3, 7, 3)];
        assert_eq!(compare_hashes(&hashes, 3), HashComparison::Equal { members: 2 });
        assert_eq!(compare_hashes(&[], 3), HashComparison::Equal { members: 0 });
    }

    #[test]
    fn a_majority_of_the_cluster_decides_and_not_of_the_answers() {
        let hashes = [of(1, 7, 3), of(2, 8, 3), of(3, 7, 3)];
        assert_eq!(compare_hashes(&hashes, 3), HashComparison::Differ { members: vec![2] });
        assert_eq!(compare_hashes(&hashes, 5), HashComparison::Undecided { members: vec![1, 2, 3] });
        assert_eq!(compare_hashes(&hashes[..2], 3), HashComparison::Undecided { members: vec![1, 2] });
    }
}
