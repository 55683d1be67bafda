//! The first frame in each direction of a link: who speaks, to whom, and whether they belong together.
use super::codec::put_u64;
use crate::mvcc::{DecodeError, Reader, put_bytes};
use crate::raft::membership;
use crate::raft::types::MemberNode;

/// The version that is spoken. A member that cannot speak the one it hears refuses the link and says which it speaks.
pub(crate) const PROTOCOL_VERSION: u16 = 2;
/// The oldest that is spoken too, with members that know no newer one.
const PROTOCOL_OLDEST: u16 = 1;
/// The first whose forwarded commands may have a note.
pub(super) const NOTES_SINCE: u16 = 2;
/// The first whose questions for an index may wait for a heartbeat.
pub(super) const HASTE_SINCE: u16 = 2;

const MAGIC: [u8; 4] = *b"MSTM";

/// What a link is for. Each has its own, so that a large transfer delays no vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Appends, votes, transfers of leadership.
    Raft,
    /// Calls that need the leader.
    Calls,
    /// One snapshot.
    Snapshot,
    /// A member that does not know its identity yet asks for the list of members.
    Join,
}

/// The first frame from the member that opened the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    pub(crate) purpose: Purpose,
    /// Zero with [`Purpose::Join`].
    pub(crate) cluster_id: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Different in each process: two processes with one identity are told apart by it.
    pub(crate) instance: u64,
}

/// The first frame in the other direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    /// The link is open.
    Accepted,
    /// To [`Purpose::Join`]: the cluster as it is.
    Members {
        cluster_id: u64,
        members: Vec<(u64, MemberNode)>,
    },
    Refused(Refusal),
}

/// Why a link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it speaks version {0} of the protocol between members")]
    Version(u16),
    #[error("it is of cluster {0:016x}")]
    OtherCluster(u64),
    #[error("it is member {0:016x}")]
    OtherMember(u64),
    /// With the index of the membership that says so.
    #[error("we are not a member as of log entry {0}")]
    NotAMember(u64),
    #[error("another process with our identity is connected to it")]
    Duplicate,
    #[error("it has no list of members yet")]
    NoMembers,
    #[error("it could not read our greeting")]
    Unreadable,
    /// With the cluster that has taken the place of the sender's, by a recovery or a restore.
    #[error("cluster {0:016x}, which it is of, has taken the place of ours")]
    Superseded(u64),
}

/// Whether a version is one that is spoken here.
pub(crate) fn speaks(version: u16) -> bool {
    (PROTOCOL_OLDEST..=PROTOCOL_VERSION).contains(&version)
}

impl Hello {
    /// The same in the version that a refusal names, if that is an older one that is spoken here.
    pub(crate) fn in_version_of(self, welcome: &Welcome) -> Option<Self> {
        match *welcome {
            Welcome::Refused(Refusal::Version(version)) if version < self.version && speaks(version) => {
                Some(Self { version, ..self })
            }
            _ => None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.version.to_le_bytes());
        out.push(match self.purpose {
            Purpose::Raft => 1,
            Purpose::Calls => 2,
            Purpose::Snapshot => 3,
            Purpose::Join => 4,
        });
        for value in [self.cluster_id, self.from, self.to, self.instance] {
            put_u64(value, &mut out);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(DecodeError::Unknown { what: "greeting", found: 0 });
        }
        let version = u16::from_le_bytes([reader.u8()?, reader.u8()?]);
        if !speaks(version) {
            // What follows is that version's business.
            return Ok(Self { version, purpose: Purpose::Raft, cluster_id: 0, from: 0, to: 0, instance: 0 });
        }
        let purpose = match reader.u8()? {
            1 => Purpose::Raft,
            2 => Purpose::Calls,
            3 => Purpose::Snapshot,
            4 => Purpose::Join,
            found => return Err(DecodeError::Unknown { what: "purpose", found: found.into() }),
        };
        let hello = Self {
            version,
            purpose,
            cluster_id: reader.u64()?,
            from: reader.u64()?,
            to: reader.u64()?,
            instance: reader.u64()?,
        };
        reader.finish()?;
        Ok(hello)
    }
}

impl Welcome {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Accepted => out.push(1),
            Self::Members { cluster_id, members } => {
                out.push(2);
                put_u64(*cluster_id, &mut out);
                put_u64(members.len() as u64, &mut out);
                for (id, node) in members {
                    put_u64(*id, &mut out);
                    let mut encoded = Vec::new();
                    membership::encode_node(node, &mut encoded);
                    put_bytes(&encoded, &mut out);
                }
            }
            Self::Refused(refusal) => {
                out.push(3);
                let (kind, detail) = match refusal {
                    Refusal::Version(version) => (1, u64::from(*version)),
                    Refusal::OtherCluster(id) => (2, *id),
                    Refusal::OtherMember(id) => (3, *id),
                    Refusal::NotAMember(index) => (4, *index),
                    Refusal::Duplicate => (5, 0),
                    Refusal::NoMembers => (6, 0),
                    Refusal::Unreadable => (7, 0),
                    Refusal::Superseded(id) => (8, *id),
                };
                out.push(kind);
                put_u64(detail, &mut out);
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let welcome = match reader.u8()? {
            1 => Self::Accepted,
            2 => {
                let cluster_id = reader.u64()?;
                let mut members = Vec::new();
                for _ in 0..reader.count()? {
                    let id = reader.u64()?;
                    let length = reader.u32()? as usize;
                    let mut node = Reader::new(reader.take(length)?);
                    members.push((id, membership::decode_node(&mut node)?));
                    node.finish()?;
                }
                Self::Members { cluster_id, members }
            }
            3 => {
                let kind = reader.u8()?;
                let detail = reader.u64()?;
                Self::Refused(match kind {
                    1 => Refusal::Version(detail as u16),
                    2 => Refusal::OtherCluster(detail),
                    3 => Refusal::OtherMember(detail),
                    4 => Refusal::NotAMember(detail),
                    5 => Refusal::Duplicate,
                    6 => Refusal::NoMembers,
                    7 => Refusal::Unreadable,
                    8 => Refusal::Superseded(detail),
                    found => return Err(DecodeError::Unknown { what: "refusal", found: found.into() }),
                })
            }
            found => return Err(DecodeError::Unknown { what: "welcome", found: found.into() }),
        };
        reader.finish()?;
        Ok(welcome)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            purpose: Purpose::Calls,
            cluster_id: 9,
            from: 1,
            to: 2,
            instance: 77,
        }
    }

    fn welcomes() -> Vec<Welcome> {
        let node =
            MemberNode { name: "a".into(), peer_urls: vec!["http://a:1".into()], ..MemberNode::default() };
        let refusals = [
            Refusal::Version(3),
            Refusal::OtherCluster(4),
            Refusal::OtherMember(5),
            Refusal::NotAMember(6),
            Refusal::Duplicate,
            Refusal::NoMembers,
            Refusal::Unreadable,
            Refusal::Superseded(8),
        ];
        let mut all = vec![Welcome::Accepted, Welcome::Members { cluster_id: 9, members: vec![(1, node)] }];
        all.extend(refusals.map(Welcome::Refused));
        all
    }

    #[test]
    fn greetings_come_back_as_they_were() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
        for welcome in welcomes() {
            assert_eq!(Welcome::decode(&welcome.encode()), Ok(welcome));
        }
    }

    #[test]
    fn an_older_member_is_greeted_in_its_own_version_and_nobody_else_is() {
        let refused = |version| Welcome::Refused(Refusal::Version(version));
        let older = hello().in_version_of(&refused(1)).unwrap();
        assert_eq!(older, Hello { version: 1, ..hello() });
        assert_eq!(Hello::decode(&older.encode()), Ok(older));
        assert_eq!(older.in_version_of(&refused(1)), None, "it is not tried twice");
        for other in [0, PROTOCOL_VERSION, PROTOCOL_VERSION + 1] {
            assert_eq!(hello().in_version_of(&refused(other)), None, "{other}");
        }
        assert_eq!(hello().in_version_of(&Welcome::Accepted), None);
    }

    #[test]
    fn another_version_is_seen_as_such() {
        let mut bytes = hello().encode();
        bytes[4] = 9;
        bytes.truncate(6);
        assert_eq!(Hello::decode(&bytes).unwrap().version, 9);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _hello = Hello::decode(&[&MAGIC[..], &bytes].concat());
            let _welcome = Welcome::decode(&bytes);
        }
    }
}
