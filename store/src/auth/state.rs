//! Users, roles and permissions at one revision of theirs. Never changed in place: a change makes a new state that shares the rest.
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::reach::Reach;
use crate::api::{AuthError, Caller, Permission};
use crate::mvcc::KeyRange;

pub(super) const ROOT: &str = "root";

/// A user as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserRecord {
    /// The bcrypt hash; empty if there is none to match.
    pub(crate) hash: Vec<u8>,
    /// Identified by other means only, such as a certificate.
    pub(crate) no_password: bool,
    /// In order.
    pub(crate) roles: Vec<String>,
}

impl UserRecord {
    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|have| have == role)
    }
}

/// A role as it is stored: its permissions, ordered by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoleRecord {
    pub(crate) permissions: Vec<Permission>,
}

/// What a user's roles add up to.
#[derive(Debug, Default)]
struct Reaches {
    read: Reach,
    write: Reach,
}

#[derive(Debug)]
struct User {
    record: UserRecord,
    /// Worked out when it is first needed, and again after a change to the user or one of its roles.
    reaches: OnceLock<Reaches>,
}

/// Read or write: what an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Read,
    Write,
}

/// The whole state.
#[derive(Clone, Debug)]
pub(crate) struct AuthState {
    pub(crate) enabled: bool,
    pub(crate) revision: u64,
    users: BTreeMap<Arc<str>, Arc<User>>,
    roles: BTreeMap<Arc<str>, Arc<RoleRecord>>,
}

impl Default for AuthState {
    fn default() -> Self {
        Self { enabled: false, revision: 1, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

impl AuthState {
    pub(crate) fn user(&self, name: &str) -> Option<&UserRecord> {
        self.users.get(name).map(|user| &user.record)
    }

    pub(crate) fn role(&self, name: &str) -> Option<&RoleRecord> {
        self.roles.get(name).map(|role| &**role)
    }

    pub(crate) fn users(&self) -> impl Iterator<Item = (&str, &UserRecord)> {
        self.users.iter().map(|(name, user)| (&**name, &user.record))
    }

    pub(crate) fn roles(&self) -> impl Iterator<Item = (&str, &RoleRecord)> {
        self.roles.iter().map(|(name, role)| (&**name, &**role))
    }

    pub(crate) fn set_user(&mut self, name: &str, record: Option<UserRecord>) {
        match record {
            Some(record) => {
                self.users.insert(name.into(), Arc::new(User { record, reaches: OnceLock::new() }));
            }
            None => drop(self.users.remove(name)),
        }
    }

    pub(crate) fn set_role(&mut self, name: &str, record: Option<RoleRecord>) {
        match record {
            Some(record) => drop(self.roles.insert(name.into(), Arc::new(record))),
            None => drop(self.roles.remove(name)),
        }
        for user in self.users.values_mut().filter(|user| user.record.has_role(name)) {
            *user = Arc::new(User { record: user.record.clone(), reaches: OnceLock::new() });
        }
    }

    /// Whether a caller may read or write a range. Authentication is on.
    pub(super) fn may(&self, caller: &Caller, need: Need, range: KeyRange<'_>) -> Result<(), AuthError> {
        let Caller::User { name, auth_revision } = caller else { return Err(AuthError::UserEmpty) };
        if *auth_revision < self.revision {
            return Err(AuthError::OldRevision);
        }
        let user = self.users.get(name).ok_or(AuthError::PermissionDenied)?;
        if user.record.has_role(ROOT) {
            return Ok(());
        }
        let reaches = user.reaches.get_or_init(|| self.reaches(&user.record));
        let reach = match need {
            Need::Read => &reaches.read,
            Need::Write => &reaches.write,
        };
        if reach.covers(range) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    fn reaches(&self, user: &UserRecord) -> Reaches {
        let permissions = || {
            user.roles.iter().filter_map(|role| self.roles.get(&role[..])).flat_map(|role| &role.permissions)
        };
        Reaches {
            read: Reach::of(permissions().filter(|permission| permission.access.reads())),
            write: Reach::of(permissions().filter(|permission| permission.access.writes())),
        }
    }

    /// Whether a caller may administrate. As in etcd, the age of the identity does not matter here.
    pub(crate) fn admin(&self, caller: &Caller) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        let Caller::User { name, .. } = caller else { return Err(AuthError::UserEmpty) };
        let user = self.users.get(name).ok_or(AuthError::UserNotFound)?;
        if user.record.has_role(ROOT) { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    /// Whether a caller is anybody at all.
    pub(crate) fn known(&self, caller: &Caller) -> Result<(), AuthError> {
        match caller {
            Caller::Anonymous if self.enabled => Err(AuthError::UserEmpty),
            _ => Ok(()),
        }
    }

    /// Whether the state is still the one that a caller was checked against.
    pub(crate) fn unchanged_for(&self, caller: &Caller) -> Result<(), AuthError> {
        match caller {
            _ if !self.enabled => Ok(()),
            Caller::Anonymous => Err(AuthError::UserEmpty),
            Caller::User { auth_revision, .. } if *auth_revision == self.revision => Ok(()),
            Caller::User { .. } => Err(AuthError::OldRevision),
        }
    }
}
