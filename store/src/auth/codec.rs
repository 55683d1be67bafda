//! Authentication as bytes: commands in the log, rows in the tables. Decoding is total: any input gives a value or an error.
use bytes::Bytes;

use super::token::{HASH_BYTES, TokenHash};
use super::{AuthCommand, AuthState, RoleRecord, UserRecord};
use crate::api::{Access, Caller, Permission};
use crate::mvcc::{DecodeError, Reader, put_bytes};

/// The version of the rows; it is their first byte.
const ROW_VERSION: u8 = 1;

pub(crate) fn encode_caller(caller: &Caller, out: &mut Vec<u8>) {
    match caller {
        Caller::Anonymous => out.push(0),
        Caller::User { name, auth_revision } => {
            out.push(1);
            put_bytes(name.as_bytes(), out);
            out.extend_from_slice(&auth_revision.to_le_bytes());
        }
    }
}

pub(crate) fn decode_caller(reader: &mut Reader<'_>) -> Result<Caller, DecodeError> {
    match reader.u8()? {
        0 => Ok(Caller::Anonymous),
        1 => Ok(Caller::User { name: text(reader)?.into(), auth_revision: reader.u64()? }),
        found => Err(DecodeError::Unknown { what: "caller", found: found.into() }),
    }
}

pub(crate) fn encode_auth_command(command: &AuthCommand, out: &mut Vec<u8>) {
    let mut texts = |tag: u8, parts: &[&str]| {
        out.push(tag);
        for part in parts {
            put_bytes(part.as_bytes(), out);
        }
    };
    match command {
        AuthCommand::Enable => texts(1, &[]),
        AuthCommand::Disable => texts(2, &[]),
        AuthCommand::UserAdd { name, hash } => {
            texts(3, &[name]);
            out.push(u8::from(hash.is_some()));
            put_bytes(hash.as_deref().unwrap_or_default(), out);
        }
        AuthCommand::UserDelete { name } => texts(4, &[name]),
        AuthCommand::UserChangePassword { name, hash } => {
            texts(5, &[name]);
            put_bytes(hash, out);
        }
        AuthCommand::UserGrantRole { name, role } => texts(6, &[name, role]),
        AuthCommand::UserRevokeRole { name, role } => texts(7, &[name, role]),
        AuthCommand::RoleAdd { role } => texts(8, &[role]),
        AuthCommand::RoleDelete { role } => texts(9, &[role]),
        AuthCommand::RoleGrant { role, permission } => {
            texts(10, &[role]);
            encode_permission(permission, out);
        }
        AuthCommand::RoleRevoke { role, key, range_end } => {
            texts(11, &[role]);
            put_bytes(key, out);
            put_end(range_end.as_ref(), out);
        }
        AuthCommand::Authenticate { name, token } => {
            texts(12, &[name]);
            out.extend_from_slice(&token.0);
        }
    }
}

pub(crate) fn decode_auth_command(reader: &mut Reader<'_>) -> Result<AuthCommand, DecodeError> {
    Ok(match reader.u8()? {
        1 => AuthCommand::Enable,
        2 => AuthCommand::Disable,
        3 => {
            let name = text(reader)?;
            let has_hash = reader.bool()?;
            let hash = reader.bytes()?;
            AuthCommand::UserAdd { name, hash: has_hash.then(|| hash.to_vec()) }
        }
        4 => AuthCommand::UserDelete { name: text(reader)? },
        5 => AuthCommand::UserChangePassword { name: text(reader)?, hash: reader.bytes()?.to_vec() },
        6 => AuthCommand::UserGrantRole { name: text(reader)?, role: text(reader)? },
        7 => AuthCommand::UserRevokeRole { name: text(reader)?, role: text(reader)? },
        8 => AuthCommand::RoleAdd { role: text(reader)? },
        9 => AuthCommand::RoleDelete { role: text(reader)? },
        10 => AuthCommand::RoleGrant { role: text(reader)?, permission: decode_permission(reader)? },
        11 => AuthCommand::RoleRevoke { role: text(reader)?, key: reader.bytes()?, range_end: end(reader)? },
        12 => {
            let name = text(reader)?;
            let hash = reader.take(HASH_BYTES)?;
            let token = TokenHash(*hash.first_chunk().ok_or(DecodeError::Short)?);
            AuthCommand::Authenticate { name, token }
        }
        found => return Err(DecodeError::Unknown { what: "authentication command", found: found.into() }),
    })
}

/// The row that says whether authentication is on, and its revision.
pub(crate) fn encode_mark(state: &AuthState) -> Vec<u8> {
    let mut out = vec![ROW_VERSION, u8::from(state.enabled)];
    out.extend_from_slice(&state.revision.to_le_bytes());
    out
}

pub(crate) fn decode_mark(bytes: &[u8]) -> Result<(bool, u64), DecodeError> {
    let mut reader = row(bytes)?;
    let mark = (reader.bool()?, reader.u64()?);
    reader.finish()?;
    Ok(mark)
}

pub(crate) fn encode_user(user: &UserRecord) -> Vec<u8> {
    let mut out = vec![ROW_VERSION, u8::from(user.no_password)];
    put_bytes(&user.hash, &mut out);
    out.extend_from_slice(&(user.roles.len() as u64).to_le_bytes());
    for role in &user.roles {
        put_bytes(role.as_bytes(), &mut out);
    }
    out
}

pub(crate) fn decode_user(bytes: &[u8]) -> Result<UserRecord, DecodeError> {
    let mut reader = row(bytes)?;
    let no_password = reader.bool()?;
    let hash = reader.bytes()?.to_vec();
    let mut roles = Vec::new();
    for _ in 0..reader.count()? {
        roles.push(text(&mut reader)?);
    }
    reader.finish()?;
    Ok(UserRecord { hash, no_password, roles })
}

pub(crate) fn encode_role(role: &RoleRecord) -> Vec<u8> {
    let mut out = vec![ROW_VERSION];
    out.extend_from_slice(&(role.permissions.len() as u64).to_le_bytes());
    for permission in &role.permissions {
        encode_permission(permission, &mut out);
    }
    out
}

pub(crate) fn decode_role(bytes: &[u8]) -> Result<RoleRecord, DecodeError> {
    let mut reader = row(bytes)?;
    let mut permissions = Vec::new();
    for _ in 0..reader.count()? {
        permissions.push(decode_permission(&mut reader)?);
    }
    reader.finish()?;
    Ok(RoleRecord { permissions })
}

fn row(bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        ROW_VERSION => Ok(reader),
        found => Err(DecodeError::Unknown { what: "authentication row version", found: found.into() }),
    }
}

fn encode_permission(permission: &Permission, out: &mut Vec<u8>) {
    out.push(match permission.access {
        Access::Read => 0,
        Access::Write => 1,
        Access::ReadWrite => 2,
    });
    put_bytes(&permission.key, out);
    put_end(permission.range_end.as_ref(), out);
}

fn decode_permission(reader: &mut Reader<'_>) -> Result<Permission, DecodeError> {
    let access = match reader.u8()? {
        0 => Access::Read,
        1 => Access::Write,
        2 => Access::ReadWrite,
        found => return Err(DecodeError::Unknown { what: "access", found: found.into() }),
    };
    Ok(Permission { access, key: reader.bytes()?, range_end: end(reader)? })
}

fn put_end(end: Option<&Bytes>, out: &mut Vec<u8>) {
    out.push(u8::from(end.is_some()));
    if let Some(end) = end {
        put_bytes(end, out);
    }
}

fn end(reader: &mut Reader<'_>) -> Result<Option<Bytes>, DecodeError> {
    if reader.bool()? { Ok(Some(reader.bytes()?)) } else { Ok(None) }
}

fn text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    String::from_utf8(reader.bytes()?.into()).map_err(|error| DecodeError::Unknown {
        what: "text at byte",
        found: error.utf8_error().valid_up_to() as u64,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn permission() -> impl Strategy<Value = Permission> {
        let access = prop_oneof![Just(Access::Read), Just(Access::Write), Just(Access::ReadWrite)];
        (access, "[a-c]{1,3}", proptest::option::of("[a-c]{0,3}")).prop_map(|(access, key, end)| Permission {
            access,
            key: key.into(),
            range_end: end.map(Bytes::from),
        })
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were(
            permissions in proptest::collection::vec(permission(), 0..5),
            hash in proptest::collection::vec(any::<u8>(), 0..70),
            no_password in any::<bool>(),
            roles in proptest::collection::vec("[a-zäö]{0,9}", 0..5),
        ) {
            let role = RoleRecord { permissions };
            prop_assert_eq!(decode_role(&encode_role(&role)), Ok(role));
            let user = UserRecord { hash, no_password, roles };
            prop_assert_eq!(decode_user(&encode_user(&user)), Ok(user));
        }

        #[test]
        fn any_bytes_decode_or_fail(mut bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            if let Some(first) = bytes.first_mut() {
                *first = ROW_VERSION;
            }
            let _ignored = (decode_role(&bytes), decode_user(&bytes), decode_mark(&bytes));
            let _ignored = decode_auth_command(&mut Reader::new(&bytes));
            let _ignored = decode_caller(&mut Reader::new(&bytes));
        }
    }
}
