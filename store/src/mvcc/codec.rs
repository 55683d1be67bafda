//! Commands as bytes, as they stand in the log. Decoding is total: any input gives a command or an error.
use bytes::Bytes;

use super::Command;
use crate::api::{
    Alarm, AlarmKind, Compare, CompareOp, CompareTarget, DeleteRangeRequest, LeaseId, Op, PutRequest,
    RangeOrder, RangeRequest, Revision, RevisionBounds, SortTarget, Txn,
};
use crate::auth::{decode_auth_command, decode_caller, encode_auth_command, encode_caller};

/// The version that is written; it is the first byte of each command.
const VERSION: u8 = 1;

/// Deeper nesting is not decoded, whatever the limits were when it was written.
const DEPTH_MAX: usize = 64;

const ALARM: u8 = 7;
const AUTH: u8 = 32;
/// Stands before another command; it does not nest.
const AS: u8 = 33;

/// The bytes are no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the record ends early")]
    Short,
    #[error("{count} bytes are left over")]
    Trailing { count: usize },
    #[error("unknown {what} {found}")]
    Unknown { what: &'static str, found: u64 },
    #[error("transactions nest too deep")]
    TooDeep,
}

pub(crate) fn encode_command(command: &Command, out: &mut Vec<u8>) {
    out.push(VERSION);
    encode_body(command, out);
}

fn encode_body(command: &Command, out: &mut Vec<u8>) {
    match command {
        Command::Put(put) => {
            out.push(1);
            encode_put(put, out);
        }
        Command::DeleteRange(delete) => {
            out.push(2);
            encode_delete(delete, out);
        }
        Command::Txn(txn) => {
            out.push(3);
            encode_txn(txn, out);
        }
        Command::Compact(revision) => {
            out.push(4);
            put_i64(revision.0, out);
        }
        Command::LeaseGrant { id, ttl_seconds, leases_max } => {
            out.push(5);
            put_i64(id.0, out);
            put_u64(*ttl_seconds, out);
            put_u64(*leases_max as u64, out);
        }
        Command::LeaseRevoke(id) => {
            out.push(6);
            put_i64(id.0, out);
        }
        Command::Auth(command) => {
            out.push(AUTH);
            encode_auth_command(command, out);
        }
        Command::As { caller, command } => {
            out.push(AS);
            encode_caller(caller, out);
            encode_body(command, out);
        }
        Command::Alarm { alarm, raise } => {
            out.push(ALARM);
            put_u64(alarm.member_id, out);
            out.push(match alarm.kind {
                AlarmKind::NoSpace => 1,
                AlarmKind::Corrupt => 2,
            });
            out.push(u8::from(*raise));
        }
    }
}

pub(crate) fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(DecodeError::Unknown { what: "command version", found: version.into() });
    }
    let command = match reader.u8()? {
        AS => {
            let caller = decode_caller(&mut reader)?;
            let tag = reader.u8()?;
            Command::As { caller, command: Box::new(decode_body(tag, &mut reader)?) }
        }
        tag => decode_body(tag, &mut reader)?,
    };
    reader.finish()?;
    Ok(command)
}

fn decode_body(tag: u8, reader: &mut Reader<'_>) -> Result<Command, DecodeError> {
    Ok(match tag {
        1 => Command::Put(decode_put(reader)?),
        2 => Command::DeleteRange(decode_delete(reader)?),
        3 => Command::Txn(decode_txn(reader, 0)?),
        4 => Command::Compact(Revision(reader.i64()?)),
        5 => Command::LeaseGrant {
            id: LeaseId(reader.i64()?),
            ttl_seconds: reader.u64()?,
            leases_max: usize::try_from(reader.u64()?).unwrap_or(usize::MAX),
        },
        6 => Command::LeaseRevoke(LeaseId(reader.i64()?)),
        AUTH => Command::Auth(decode_auth_command(reader)?),
        ALARM => {
            let member_id = reader.u64()?;
            let kind = match reader.u8()? {
                1 => AlarmKind::NoSpace,
                2 => AlarmKind::Corrupt,
                found => return Err(DecodeError::Unknown { what: "alarm", found: found.into() }),
            };
            Command::Alarm { alarm: Alarm { member_id, kind }, raise: reader.bool()? }
        }
        found => return Err(DecodeError::Unknown { what: "command", found: found.into() }),
    })
}

fn encode_put(put: &PutRequest, out: &mut Vec<u8>) {
    put_bytes(&put.key, out);
    put_bytes(&put.value, out);
    put_i64(put.lease.0, out);
    out.push(u8::from(put.prev_kv) | u8::from(put.ignore_value) << 1 | u8::from(put.ignore_lease) << 2);
}

fn decode_put(reader: &mut Reader<'_>) -> Result<PutRequest, DecodeError> {
    let key = reader.bytes()?;
    let value = reader.bytes()?;
    let lease = LeaseId(reader.i64()?);
    let flags = reader.u8()?;
    if flags > 7 {
        return Err(DecodeError::Unknown { what: "flag", found: flags.into() });
    }
    let [prev_kv, ignore_value, ignore_lease] = [1, 2, 4].map(|bit| flags & bit != 0);
    Ok(PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease })
}

fn encode_delete(delete: &DeleteRangeRequest, out: &mut Vec<u8>) {
    put_bytes(&delete.key, out);
    put_optional(delete.range_end.as_ref(), out);
    out.push(u8::from(delete.prev_kv));
}

fn decode_delete(reader: &mut Reader<'_>) -> Result<DeleteRangeRequest, DecodeError> {
    Ok(DeleteRangeRequest { key: reader.bytes()?, range_end: reader.optional()?, prev_kv: reader.bool()? })
}

fn encode_range(range: &RangeRequest, out: &mut Vec<u8>) {
    put_bytes(&range.key, out);
    put_optional(range.range_end.as_ref(), out);
    put_u64(range.limit as u64, out);
    put_i64(range.revision.map_or(-1, |revision| revision.0), out);
    let flags = [
        range.keys_only,
        range.count_only,
        range.uncounted,
        range.serializable,
        range.order.is_some(),
        !range.bounds.is_none(),
    ];
    out.push(flags.into_iter().enumerate().fold(0, |all, (bit, flag)| all | u8::from(flag) << bit));
    if let Some(order) = range.order {
        let target = match order.target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        };
        out.push(target << 1 | u8::from(order.descending));
    }
    if !range.bounds.is_none() {
        let bounds = range.bounds;
        for bound in [bounds.mod_min, bounds.mod_max, bounds.create_min, bounds.create_max] {
            put_i64(bound.0, out);
        }
    }
}

fn decode_order(reader: &mut Reader<'_>) -> Result<RangeOrder, DecodeError> {
    let byte = reader.u8()?;
    let target = match byte >> 1 {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        found => return Err(DecodeError::Unknown { what: "sort target", found: found.into() }),
    };
    Ok(RangeOrder { target, descending: byte & 1 != 0 })
}

fn decode_bounds(reader: &mut Reader<'_>) -> Result<RevisionBounds, DecodeError> {
    Ok(RevisionBounds {
        mod_min: Revision(reader.i64()?),
        mod_max: Revision(reader.i64()?),
        create_min: Revision(reader.i64()?),
        create_max: Revision(reader.i64()?),
    })
}

fn decode_range(reader: &mut Reader<'_>) -> Result<RangeRequest, DecodeError> {
    let key = reader.bytes()?;
    let range_end = reader.optional()?;
    let limit = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
    let revision = reader.i64()?;
    let flags = reader.u8()?;
    let order = if flags & 16 != 0 { Some(decode_order(reader)?) } else { None };
    let bounds = if flags & 32 != 0 { decode_bounds(reader)? } else { RevisionBounds::default() };
    Ok(RangeRequest {
        key,
        range_end,
        limit,
        revision: (revision >= 0).then_some(Revision(revision)),
        keys_only: flags & 1 != 0,
        count_only: flags & 2 != 0,
        uncounted: flags & 4 != 0,
        serializable: flags & 8 != 0,
        order,
        bounds,
    })
}

fn encode_txn(txn: &Txn, out: &mut Vec<u8>) {
    put_u64(txn.compare.len() as u64, out);
    for compare in &txn.compare {
        encode_compare(compare, out);
    }
    for ops in [&txn.success, &txn.failure] {
        put_u64(ops.len() as u64, out);
        for op in ops {
            match op {
                Op::Put(put) => {
                    out.push(1);
                    encode_put(put, out);
                }
                Op::Delete(delete) => {
                    out.push(2);
                    encode_delete(delete, out);
                }
                Op::Range(range) => {
                    out.push(3);
                    encode_range(range, out);
                }
                Op::Txn(nested) => {
                    out.push(4);
                    encode_txn(nested, out);
                }
            }
        }
    }
}

fn decode_txn(reader: &mut Reader<'_>, depth: usize) -> Result<Txn, DecodeError> {
    if depth >= DEPTH_MAX {
        return Err(DecodeError::TooDeep);
    }
    let mut txn = Txn::default();
    for _ in 0..reader.count()? {
        txn.compare.push(decode_compare(reader)?);
    }
    for ops in [&mut txn.success, &mut txn.failure] {
        for _ in 0..reader.count()? {
            ops.push(match reader.u8()? {
                1 => Op::Put(decode_put(reader)?),
                2 => Op::Delete(decode_delete(reader)?),
                3 => Op::Range(decode_range(reader)?),
                4 => Op::Txn(decode_txn(reader, depth + 1)?),
                found => return Err(DecodeError::Unknown { what: "operation", found: found.into() }),
            });
        }
    }
    Ok(txn)
}

fn encode_compare(compare: &Compare, out: &mut Vec<u8>) {
    put_bytes(&compare.key, out);
    put_optional(compare.range_end.as_ref(), out);
    out.push(match compare.op {
        CompareOp::Equal => 0,
        CompareOp::NotEqual => 1,
        CompareOp::Greater => 2,
        CompareOp::Less => 3,
    });
    match &compare.target {
        CompareTarget::Value(value) => {
            out.push(0);
            put_bytes(value, out);
        }
        CompareTarget::Version(version) => {
            out.push(1);
            put_i64(*version, out);
        }
        CompareTarget::Create(revision) => {
            out.push(2);
            put_i64(revision.0, out);
        }
        CompareTarget::Mod(revision) => {
            out.push(3);
            put_i64(revision.0, out);
        }
        CompareTarget::Lease(lease) => {
            out.push(4);
            put_i64(lease.0, out);
        }
    }
}

fn decode_compare(reader: &mut Reader<'_>) -> Result<Compare, DecodeError> {
    let key = reader.bytes()?;
    let range_end = reader.optional()?;
    let op = match reader.u8()? {
        0 => CompareOp::Equal,
        1 => CompareOp::NotEqual,
        2 => CompareOp::Greater,
        3 => CompareOp::Less,
        found => return Err(DecodeError::Unknown { what: "comparison", found: found.into() }),
    };
    let target = match reader.u8()? {
        0 => CompareTarget::Value(reader.bytes()?),
        1 => CompareTarget::Version(reader.i64()?),
        2 => CompareTarget::Create(Revision(reader.i64()?)),
        3 => CompareTarget::Mod(Revision(reader.i64()?)),
        4 => CompareTarget::Lease(LeaseId(reader.i64()?)),
        found => return Err(DecodeError::Unknown { what: "comparison target", found: found.into() }),
    };
    Ok(Compare { key, target, op, range_end })
}

/// Fixed eight bytes, little endian: lengths vary little enough that varints do not pay.
fn put_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// A length of four bytes, then the bytes.
pub(crate) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_optional(bytes: Option<&Bytes>, out: &mut Vec<u8>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            out.push(1);
            put_bytes(bytes, out);
        }
    }
}

/// Takes values off the front of a byte slice.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(DecodeError::Unknown { what: "flag", found: found.into() }),
        }
    }

    /// An owned copy: keys and values must not pin the buffer that they came in.
    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.u32()? as usize;
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }

    fn optional(&mut self) -> Result<Option<Bytes>, DecodeError> {
        if self.bool()? { Ok(Some(self.bytes()?)) } else { Ok(None) }
    }

    /// A number of things that each take at least a byte: never more than bytes are left.
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        if count > self.rest.len() { Err(DecodeError::Short) } else { Ok(count) }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { count: self.rest.len() }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::{Access, Caller, Permission};
    use crate::auth::AuthCommand;
    use crate::mvcc::model::command_strategy;

    proptest! {
        #[test]
        fn a_command_comes_back_as_it_was(command in command_strategy()) {
            let mut bytes = Vec::new();
            encode_command(&command, &mut bytes);
            prop_assert_eq!(decode_command(&bytes), Ok(command));
        }

        #[test]
        fn a_command_on_behalf_of_somebody_comes_back_as_it_was(command in command_strategy(), user in "[a-zäö]{0,9}", auth_revision in any::<u64>()) {
            let caller = if user.is_empty() {
                Caller::Anonymous
            } else {
                Caller::User { name: user.into(), auth_revision }
            };
            let command = Command::As { caller, command: Box::new(command) };
            let mut bytes = Vec::new();
            encode_command(&command, &mut bytes);
            prop_assert_eq!(decode_command(&bytes), Ok(command));
        }

        #[test]
        fn any_bytes_decode_or_fail(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ignored = decode_command(&bytes);
        }

        #[test]
        fn a_cut_command_fails(command in command_strategy(), cut in any::<proptest::sample::Index>()) {
            let mut bytes = Vec::new();
            encode_command(&command, &mut bytes);
            prop_assert!(decode_command(&bytes[..cut.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let mut bytes = Vec::new();
        let txn = Txn::when([Compare::unchanged("k", Revision(7))])
            .then([PutRequest::new("k", "v")])
            .otherwise([RangeRequest::key("k")]);
        encode_command(&Command::Txn(txn), &mut bytes);
        crate::golden::check("command-v1.hex", &crate::golden::hex(&bytes));
    }

    #[test]
    fn the_bytes_of_commands_on_behalf_of_somebody_stay_as_they_are() {
        let grant = AuthCommand::RoleGrant {
            role: "editor".into(),
            permission: Permission {
                access: Access::ReadWrite,
                key: "a".into(),
                range_end: Some("b".into()),
            },
        };
        let caller = Caller::User { name: "root".into(), auth_revision: 7 };
        let mut bytes = Vec::new();
        encode_command(&Command::As { caller, command: Box::new(Command::Auth(grant)) }, &mut bytes);
        crate::golden::check("command-auth-v1.hex", &crate::golden::hex(&bytes));
    }
}
