//! Who may do what: users, roles, permissions, and on whose behalf a call is made. The rules and the texts are etcd's.
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// On whose behalf the calls on a [`Store`](crate::Store) are made; see [`Store::acting_as`](crate::Store::acting_as).
///
/// It matters only while authentication is enabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: refused wherever a permission is needed.
    #[default]
    Anonymous,
    /// A user whose identity somebody has established.
    User {
        /// The user's name.
        name: Arc<str>,
        /// The revision of the authentication state when the identity was established. Once that state has changed, calls are refused with
        /// [`AuthError::OldRevision`], and the identity must be established anew.
        auth_revision: u64,
    },
}

/// What a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Range and watch; also what comparisons and `prev_kv` need.
    Read,
    /// Put and delete.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    /// Whether reading is allowed.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether writing is allowed.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// Access to one key or to a range of keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Permission {
    /// What is allowed.
    pub access: Access,
    /// The first key (or the only one); not empty.
    pub key: Bytes,
    /// The exclusive end; the single byte `\0` means "to the last key", none means one key.
    pub range_end: Option<Bytes>,
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.access, self.key)?;
        match &self.range_end {
            Some(end) => write!(f, "..{end:?}"),
            None => Ok(()),
        }
    }
}

/// Whether authentication is on, and how often its state has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthStatus {
    /// Whether callers are checked.
    pub enabled: bool,
    /// Grows with every change to users, roles and permissions; 1 at first.
    pub revision: u64,
}

/// How identities are established.
#[derive(Clone, Copy, Debug)]
pub struct AuthOptions {
    /// The cost of hashing a password: 2 to this power rounds, from 4 to 31.
    pub bcrypt_cost: u32,
    /// A token that [`Auth::authenticate`](crate::Auth::authenticate) gave is forgotten after so long without use.
    pub token_ttl: std::time::Duration,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self { bcrypt_cost: 10, token_ttl: std::time::Duration::from_secs(300) }
    }
}

/// Why a call was refused by the rules of authentication. The texts are those of etcd, without its prefix `etcdserver: `.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Authentication cannot be enabled without a user `root`.
    #[error("root user does not exist")]
    RootUserNotExist,
    /// Authentication cannot be enabled unless `root` has the role `root`.
    #[error("root user does not have root role")]
    RootRoleNotExist,
    /// The user exists.
    #[error("user name already exists")]
    UserAlreadyExist,
    /// No user was named, or the call needs one and was made without.
    #[error("user name is empty")]
    UserEmpty,
    /// There is no such user.
    #[error("user name not found")]
    UserNotFound,
    /// The role exists.
    #[error("role name already exists")]
    RoleAlreadyExist,
    /// There is no such role.
    #[error("role name not found")]
    RoleNotFound,
    /// No role was named.
    #[error("role name is empty")]
    RoleEmpty,
    /// The user does not exist, has no password, or has another one.
    #[error("authentication failed, invalid user ID or password")]
    AuthFailed,
    /// A grant names no permission.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The user may not do this.
    #[error("permission denied")]
    PermissionDenied,
    /// The user does not have the role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have the permission.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// Identities are established only while authentication is enabled.
    #[error("authentication is not enabled")]
    NotEnabled,
    /// The token is unknown, expired or forged.
    #[error("invalid auth token")]
    InvalidAuthToken,
    /// The change would lock everybody out, or a range is empty.
    #[error("invalid auth management")]
    InvalidAuthMgmt,
    /// Users, roles or permissions changed since the caller's identity was established.
    #[error("revision of auth store is old")]
    OldRevision,
}

/// Why a call of [`Auth`](crate::Auth) failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthCallError {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] AuthError),
    /// It could not be written.
    #[error(transparent)]
    Write(super::WriteError),
    /// The state could not be read.
    #[error(transparent)]
    Read(super::RangeError),
    /// A password could not be hashed.
    #[error("hashing a password: {0}")]
    Hash(String),
}

impl From<super::WriteError> for AuthCallError {
    fn from(error: super::WriteError) -> Self {
        match error {
            super::WriteError::Auth(refused) => Self::Refused(refused),
            other => Self::Write(other),
        }
    }
}

impl From<super::RangeError> for AuthCallError {
    fn from(error: super::RangeError) -> Self {
        match error {
            super::RangeError::Auth(refused) => Self::Refused(refused),
            other => Self::Read(other),
        }
    }
}
