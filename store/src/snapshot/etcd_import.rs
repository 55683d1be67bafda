//! A database of etcd's becomes our tables.
use std::fs::File;
use std::path::Path;

use mainstay_proto_wire::etcd::{authpb, mvccpb};
use prost::Message as _;

use super::bolt::{BoltError, BoltFile, check_sum};
use super::etcd_rows::{self as names, Lease, split_revision};
use super::restore::{Filled, RestoreError, engine_error};
use super::status::{SnapshotFormat, SnapshotStatus};
use crate::api::{Access, EventKind, KeyValue, LeaseId, Permission, Revision};
use crate::auth::{AuthState, RoleRecord, UserRecord};
use crate::engine::TablesBuilder;

impl From<BoltError> for RestoreError {
    fn from(error: BoltError) -> Self {
        match error {
            BoltError::Io(source) => Self::Read(source),
            other => Self::Snapshot { what: other.to_string() },
        }
    }
}

fn damaged(what: &str) -> RestoreError {
    RestoreError::Snapshot { what: format!("a row of {what} is damaged") }
}

/// Reads keys with their history, leases, users and roles. Members and alarms stay behind: they belong to the old cluster.
pub(super) fn rows(
    file: &File,
    skip_hash_check: bool,
    dir: &Path,
    tables: &mut TablesBuilder,
) -> Result<Filled, RestoreError> {
    if !skip_hash_check {
        check_sum(file)?;
    }
    let bolt = BoltFile::open(file)?;
    let mut import = Import {
        dir,
        tables: &mut *tables,
        revision: Revision::INITIAL,
        floor: Revision(0),
        auth: AuthState::default(),
    };
    for (name, bucket) in bolt.buckets()? {
        let mut failed = None;
        bolt.each(&bucket, &mut |key, value| {
            failed = import.row(&name, key, value).err();
            failed.is_none()
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    let Import { auth, revision, floor, .. } = import;
    let engine = engine_error(dir);
    tables.put_auth(&auth).map_err(&engine)?;
    tables.attach().map_err(&engine)?;
    Ok(Filled { revision: revision.max(floor), floor })
}

struct Import<'i> {
    dir: &'i Path,
    tables: &'i mut TablesBuilder,
    revision: Revision,
    floor: Revision,
    auth: AuthState,
}

impl Import<'_> {
    fn row(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        match bucket {
            names::KEY => self.version(key, value),
            names::LEASE => {
                let lease = Lease::decode(value).map_err(|_error| damaged("leases"))?;
                let ttl = u64::try_from(lease.ttl).map_err(|_negative| damaged("leases"))?;
                self.tables.put_lease(LeaseId(lease.id), ttl.max(1)).map_err(engine_error(self.dir))
            }
            names::META if key == names::FINISHED_COMPACTION || key == names::SCHEDULED_COMPACTION => {
                let (main, ..) = split_revision(value).ok_or_else(|| damaged("compaction"))?;
                self.floor = self.floor.max(Revision(main));
                Ok(())
            }
            names::AUTH => self.auth_mark(key, value),
            names::USERS => self.user(key, value),
            names::ROLES => self.role(key, value),
            _ => Ok(()),
        }
    }

    fn version(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let wrong = || damaged("keys");
        let (main, sub, end) = split_revision(key).filter(|(main, ..)| *main > 0).ok_or_else(wrong)?;
        let sub = u32::try_from(sub).map_err(|_range| wrong())?;
        let row = mvccpb::KeyValue::decode(value).map_err(|_error| wrong())?;
        if row.key.is_empty() {
            return Err(wrong());
        }
        let mod_revision = Revision(main);
        self.revision = self.revision.max(mod_revision);
        let (kind, kv) = if end {
            (EventKind::Delete, KeyValue { key: row.key, mod_revision, ..KeyValue::default() })
        } else {
            let kv = KeyValue {
                key: row.key,
                value: row.value,
                create_revision: Revision(row.create_revision),
                mod_revision,
                version: row.version,
                lease: LeaseId(row.lease),
            };
            (EventKind::Put, kv)
        };
        self.tables.put_version(kind, &kv, sub).map_err(engine_error(self.dir))
    }

    fn auth_mark(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        match key {
            names::AUTH_ENABLED => self.auth.enabled = value == [1],
            names::AUTH_REVISION => {
                let revision = value.first_chunk().ok_or_else(|| damaged("authentication"))?;
                self.auth.revision = u64::from_be_bytes(*revision).max(1);
            }
            _ => {}
        }
        Ok(())
    }

    fn user(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let wrong = || damaged("users");
        let name = std::str::from_utf8(key).map_err(|_text| wrong())?;
        let user = authpb::User::decode(value).map_err(|_error| wrong())?;
        let mut roles = user.roles;
        roles.sort_unstable();
        let no_password = user.options.is_some_and(|options| options.no_password);
        self.auth.set_user(name, Some(UserRecord { hash: user.password.to_vec(), no_password, roles }));
        Ok(())
    }

    fn role(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        use authpb::permission::Type;
        let wrong = || damaged("roles");
        let name = std::str::from_utf8(key).map_err(|_text| wrong())?;
        let role = authpb::Role::decode(value).map_err(|_error| wrong())?;
        let mut permissions = Vec::with_capacity(role.key_permission.len());
        for permission in role.key_permission {
            let access = match Type::try_from(permission.perm_type) {
                Ok(Type::Read) => Access::Read,
                Ok(Type::Write) => Access::Write,
                Ok(Type::Readwrite) => Access::ReadWrite,
                Err(_) => return Err(wrong()),
            };
            let range_end = (!permission.range_end.is_empty()).then_some(permission.range_end);
            permissions.push(Permission { access, key: permission.key, range_end });
        }
        self.auth.set_role(name, Some(RoleRecord { permissions }));
        Ok(())
    }
}

/// Adds a database up as `etcdctl snapshot status` does.
pub(super) fn status(file: &File) -> Result<SnapshotStatus, RestoreError> {
    match check_sum(file) {
        // A database that was copied rather than saved has none.
        Ok(()) | Err(BoltError::NoSum) => {}
        Err(error) => return Err(error.into()),
    }
    let bolt = BoltFile::open(file)?;
    let (mut hash, mut keys, mut revision) = (0, 0, Revision(0));
    for (name, bucket) in bolt.buckets()? {
        hash = crc32c::crc32c_append(hash, &name);
        let is_key = name == names::KEY;
        bolt.each(&bucket, &mut |key, value| {
            hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
            keys += 1;
            if is_key && let Some((main, ..)) = split_revision(key) {
                revision = Revision(main);
            }
            true
        })?;
    }
    let (format, size_bytes) = (SnapshotFormat::Etcd, bolt.size_bytes());
    Ok(SnapshotStatus { format, hash, revision, oldest: None, keys, size_bytes, cluster_id: None })
}
