//! What an administrator's command does to users, roles and permissions.
use std::sync::Arc;

use bytes::Bytes;

use super::TokenHash;
use super::state::{AuthState, ROOT, RoleRecord, UserRecord};
use crate::api::{AuthError, Permission};

/// A change to the authentication state, as it stands in the log. Passwords arrive hashed, tokens too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthCommand {
    Enable,
    Disable,
    /// Without hash: a user who has no password.
    UserAdd {
        name: String,
        hash: Option<Vec<u8>>,
    },
    UserDelete {
        name: String,
    },
    UserChangePassword {
        name: String,
        hash: Vec<u8>,
    },
    UserGrantRole {
        name: String,
        role: String,
    },
    UserRevokeRole {
        name: String,
        role: String,
    },
    RoleAdd {
        role: String,
    },
    RoleDelete {
        role: String,
    },
    RoleGrant {
        role: String,
        permission: Permission,
    },
    RoleRevoke {
        role: String,
        key: Bytes,
        range_end: Option<Bytes>,
    },
    /// Every member learns the token, so that its owner may talk to any.
    Authenticate {
        name: String,
        token: TokenHash,
    },
}

/// A row that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthRow {
    User(String, Option<UserRecord>),
    Role(String, Option<RoleRecord>),
}

/// What a command does.
#[derive(Clone, Debug)]
pub(crate) struct AuthEffect {
    /// The state from now on.
    pub(crate) state: Arc<AuthState>,
    /// What to write of it, besides the flag and the revision.
    pub(crate) rows: Vec<AuthRow>,
    /// A token that is valid from now on, and whose it is.
    pub(crate) token: Option<(TokenHash, Arc<str>)>,
    /// The tokens of this user are void.
    pub(crate) forget: Option<String>,
}

impl PartialEq for AuthEffect {
    fn eq(&self, other: &Self) -> bool {
        (self.state.revision, self.state.enabled) == (other.state.revision, other.state.enabled)
            && (&self.rows, &self.token, &self.forget) == (&other.rows, &other.token, &other.forget)
    }
}

impl Eq for AuthEffect {}

/// The change under way.
struct Draft {
    state: AuthState,
    rows: Vec<AuthRow>,
    forget: Option<String>,
}

impl Draft {
    fn user(&self, name: &str) -> Result<UserRecord, AuthError> {
        self.state.user(name).cloned().ok_or(AuthError::UserNotFound)
    }

    fn role(&self, role: &str) -> Result<RoleRecord, AuthError> {
        self.state.role(role).cloned().ok_or(AuthError::RoleNotFound)
    }

    fn set_user(&mut self, name: &str, record: Option<UserRecord>) {
        self.state.set_user(name, record.clone());
        self.rows.push(AuthRow::User(name.to_owned(), record));
    }

    fn set_role(&mut self, role: &str, record: Option<RoleRecord>) {
        self.state.set_role(role, record.clone());
        self.rows.push(AuthRow::Role(role.to_owned(), record));
    }

    fn changed(mut self) -> AuthEffect {
        self.state.revision = self.state.revision.saturating_add(1);
        self.unchanged()
    }

    fn unchanged(self) -> AuthEffect {
        AuthEffect { state: Arc::new(self.state), rows: self.rows, token: None, forget: self.forget }
    }
}

/// Decides a command; an error changes nothing.
pub(crate) fn decide(before: &AuthState, command: &AuthCommand) -> Result<AuthEffect, AuthError> {
    let mut draft = Draft { state: before.clone(), rows: Vec::new(), forget: None };
    match command {
        AuthCommand::Enable => {
            if !before.enabled {
                let root = before.user(ROOT).ok_or(AuthError::RootUserNotExist)?;
                if !root.has_role(ROOT) {
                    return Err(AuthError::RootRoleNotExist);
                }
            }
            draft.state.enabled = true;
            return Ok(draft.unchanged());
        }
        AuthCommand::Disable if before.enabled => draft.state.enabled = false,
        AuthCommand::Disable => return Ok(draft.unchanged()),
        AuthCommand::Authenticate { name, token } => return authenticate(before, draft, name, *token),
        AuthCommand::UserAdd { .. }
        | AuthCommand::UserDelete { .. }
        | AuthCommand::UserChangePassword { .. }
        | AuthCommand::UserGrantRole { .. }
        | AuthCommand::UserRevokeRole { .. } => {
            if !change_user(&mut draft, command)? {
                return Ok(draft.unchanged());
            }
        }
        AuthCommand::RoleAdd { .. }
        | AuthCommand::RoleDelete { .. }
        | AuthCommand::RoleGrant { .. }
        | AuthCommand::RoleRevoke { .. } => change_role(&mut draft, command)?,
    }
    Ok(draft.changed())
}

fn authenticate(
    before: &AuthState,
    draft: Draft,
    name: &str,
    token: TokenHash,
) -> Result<AuthEffect, AuthError> {
    if !before.enabled {
        return Err(AuthError::NotEnabled);
    }
    let user = before.user(name).ok_or(AuthError::AuthFailed)?;
    if user.no_password {
        return Err(AuthError::AuthFailed);
    }
    Ok(AuthEffect { token: Some((token, name.into())), ..draft.unchanged() })
}

/// False if there is nothing to change.
fn change_user(draft: &mut Draft, command: &AuthCommand) -> Result<bool, AuthError> {
    match command {
        AuthCommand::UserAdd { name, hash } => {
            if name.is_empty() {
                return Err(AuthError::UserEmpty);
            }
            if draft.state.user(name).is_some() {
                return Err(AuthError::UserAlreadyExist);
            }
            let record = UserRecord {
                no_password: hash.is_none(),
                hash: hash.clone().unwrap_or_default(),
                roles: Vec::new(),
            };
            draft.set_user(name, Some(record));
        }
        AuthCommand::UserDelete { name } => {
            if draft.state.enabled && name == ROOT {
                return Err(AuthError::InvalidAuthMgmt);
            }
            draft.user(name)?;
            draft.set_user(name, None);
            draft.forget = Some(name.clone());
        }
        AuthCommand::UserChangePassword { name, hash } => {
            let mut user = draft.user(name)?;
            user.hash = if user.no_password { Vec::new() } else { hash.clone() };
            draft.set_user(name, Some(user));
            draft.forget = Some(name.clone());
        }
        AuthCommand::UserGrantRole { name, role } => {
            let mut user = draft.user(name)?;
            if role != ROOT {
                draft.role(role)?;
            }
            match user.roles.binary_search(role) {
                Ok(_) => return Ok(false),
                Err(at) => user.roles.insert(at, role.clone()),
            }
            draft.set_user(name, Some(user));
        }
        AuthCommand::UserRevokeRole { name, role } => {
            if draft.state.enabled && name == ROOT && role == ROOT {
                return Err(AuthError::InvalidAuthMgmt);
            }
            let mut user = draft.user(name)?;
            if !user.has_role(role) {
                return Err(AuthError::RoleNotGranted);
            }
            user.roles.retain(|have| have != role);
            draft.set_user(name, Some(user));
        }
        _ => {}
    }
    Ok(true)
}

fn change_role(draft: &mut Draft, command: &AuthCommand) -> Result<(), AuthError> {
    match command {
        AuthCommand::RoleAdd { role } => {
            if role.is_empty() {
                return Err(AuthError::RoleEmpty);
            }
            if draft.state.role(role).is_some() {
                return Err(AuthError::RoleAlreadyExist);
            }
            draft.set_role(role, Some(RoleRecord::default()));
        }
        AuthCommand::RoleDelete { role } => delete_role(draft, role)?,
        AuthCommand::RoleGrant { role, permission } => {
            if !is_range(permission) {
                return Err(AuthError::InvalidAuthMgmt);
            }
            let mut record = draft.role(role)?;
            let same = |have: &&mut Permission| {
                (&have.key, &have.range_end) == (&permission.key, &permission.range_end)
            };
            match record.permissions.iter_mut().find(same) {
                Some(have) => have.access = permission.access,
                None => record.permissions.push(permission.clone()),
            }
            record.permissions.sort_by(|a, b| (&a.key, &a.range_end).cmp(&(&b.key, &b.range_end)));
            draft.set_role(role, Some(record));
        }
        AuthCommand::RoleRevoke { role, key, range_end } => {
            let mut record = draft.role(role)?;
            let before = record.permissions.len();
            record.permissions.retain(|have| (&have.key, &have.range_end) != (key, range_end));
            if record.permissions.len() == before {
                return Err(AuthError::PermissionNotGranted);
            }
            draft.set_role(role, Some(record));
        }
        _ => {}
    }
    Ok(())
}

/// A role that goes is taken from all who have it.
fn delete_role(draft: &mut Draft, role: &str) -> Result<(), AuthError> {
    if draft.state.enabled && role == ROOT {
        return Err(AuthError::InvalidAuthMgmt);
    }
    draft.role(role)?;
    let holders: Vec<(String, UserRecord)> = draft
        .state
        .users()
        .filter(|(_, user)| user.has_role(role))
        .map(|(name, user)| (name.to_owned(), user.clone()))
        .collect();
    for (name, mut user) in holders {
        user.roles.retain(|have| have != role);
        draft.set_user(&name, Some(user));
    }
    draft.set_role(role, None);
    Ok(())
}

/// Whether a permission names any key.
fn is_range(permission: &Permission) -> bool {
    !permission.key.is_empty()
        && permission.range_end.as_ref().is_none_or(|end| end == "\0" || permission.key < *end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Access, Caller, LeaseId, PutRequest, RangeRequest, Txn};
    use crate::auth::check;
    use crate::mvcc::Command;

    fn name(text: &str) -> String {
        text.to_owned()
    }

    fn apply(state: &mut AuthState, command: &AuthCommand) -> Result<(), AuthError> {
        *state = AuthState::clone(&decide(state, command)?.state);
        Ok(())
    }

    /// Enabled, with root, and with alice, who may write `w`, read `r`, and do both in `[b, d)`.
    fn enabled() -> AuthState {
        let mut state = AuthState::default();
        let permission = |access, key: &'static str, end: Option<&'static str>| AuthCommand::RoleGrant {
            role: name("editor"),
            permission: Permission { access, key: key.into(), range_end: end.map(Bytes::from) },
        };
        for command in [
            AuthCommand::UserAdd { name: name("root"), hash: Some(vec![1]) },
            AuthCommand::UserGrantRole { name: name("root"), role: name("root") },
            AuthCommand::UserAdd { name: name("alice"), hash: Some(vec![2]) },
            AuthCommand::RoleAdd { role: name("editor") },
            permission(Access::Write, "w", None),
            permission(Access::Read, "r", None),
            permission(Access::ReadWrite, "b", Some("d")),
            AuthCommand::UserGrantRole { name: name("alice"), role: name("editor") },
            AuthCommand::Enable,
        ] {
            apply(&mut state, &command).unwrap();
        }
        state
    }

    fn user(state: &AuthState, name: &str) -> Caller {
        Caller::User { name: name.into(), auth_revision: state.revision }
    }

    fn allowed(state: &AuthState, caller: &Caller, command: &Command) -> Result<(), AuthError> {
        // Lease 7 holds a key of alice's, lease 8 one that is not.
        let keys = |lease: LeaseId| match lease.0 {
            7 => vec![Bytes::from("c")],
            8 => vec![Bytes::from("c"), Bytes::from("secret")],
            _ => vec![],
        };
        check(state, caller, command, &keys)
    }

    #[test]
    fn only_a_root_with_its_role_enables_it() {
        let mut state = AuthState::default();
        assert_eq!(apply(&mut state, &AuthCommand::Enable), Err(AuthError::RootUserNotExist));
        apply(&mut state, &AuthCommand::UserAdd { name: name("root"), hash: None }).unwrap();
        assert_eq!(apply(&mut state, &AuthCommand::Enable), Err(AuthError::RootRoleNotExist));
        apply(&mut state, &AuthCommand::UserGrantRole { name: name("root"), role: name("root") }).unwrap();
        let before = state.revision;
        apply(&mut state, &AuthCommand::Enable).unwrap();
        assert!(state.enabled && state.revision == before, "enabling is no change of users");
        apply(&mut state, &AuthCommand::Disable).unwrap();
        assert!(!state.enabled && state.revision == before + 1);
    }

    #[test]
    fn root_cannot_lock_itself_out() {
        let mut state = enabled();
        let refused = Err(AuthError::InvalidAuthMgmt);
        assert_eq!(apply(&mut state, &AuthCommand::UserDelete { name: name("root") }), refused);
        assert_eq!(apply(&mut state, &AuthCommand::RoleDelete { role: name("root") }), refused);
        let revoke = AuthCommand::UserRevokeRole { name: name("root"), role: name("root") };
        assert_eq!(apply(&mut state, &revoke), refused);
    }

    #[test]
    fn names_are_there_once_and_not_empty() {
        let mut state = enabled();
        let add = |text| AuthCommand::UserAdd { name: name(text), hash: None };
        assert_eq!(apply(&mut state, &add("")), Err(AuthError::UserEmpty));
        assert_eq!(apply(&mut state, &add("alice")), Err(AuthError::UserAlreadyExist));
        assert_eq!(apply(&mut state, &AuthCommand::RoleAdd { role: name("") }), Err(AuthError::RoleEmpty));
        assert_eq!(
            apply(&mut state, &AuthCommand::RoleAdd { role: name("editor") }),
            Err(AuthError::RoleAlreadyExist)
        );
        let grant = |user, role| AuthCommand::UserGrantRole { name: name(user), role: name(role) };
        assert_eq!(apply(&mut state, &grant("bob", "editor")), Err(AuthError::UserNotFound));
        assert_eq!(apply(&mut state, &grant("alice", "poet")), Err(AuthError::RoleNotFound));
        let before = state.revision;
        assert_eq!(apply(&mut state, &grant("alice", "editor")), Ok(()), "granted already");
        assert_eq!(state.revision, before);
    }

    #[test]
    fn a_deleted_role_is_taken_from_its_users() {
        let mut state = enabled();
        apply(&mut state, &AuthCommand::RoleDelete { role: name("editor") }).unwrap();
        assert_eq!(state.user("alice").unwrap().roles, Vec::<String>::new());
        let put = Command::Put(PutRequest::new("w", "1"));
        assert_eq!(allowed(&state, &user(&state, "alice"), &put), Err(AuthError::PermissionDenied));
    }

    #[test]
    fn a_permission_is_replaced_by_another_on_the_same_range_and_revoked_by_range() {
        let mut state = enabled();
        let revoke = |key: &'static str, end: Option<&'static str>| AuthCommand::RoleRevoke {
            role: name("editor"),
            key: key.into(),
            range_end: end.map(Bytes::from),
        };
        let grant = AuthCommand::RoleGrant {
            role: name("editor"),
            permission: Permission { access: Access::ReadWrite, key: "r".into(), range_end: None },
        };
        apply(&mut state, &grant).unwrap();
        assert_eq!(state.role("editor").unwrap().permissions.len(), 3);
        assert_eq!(apply(&mut state, &revoke("b", None)), Err(AuthError::PermissionNotGranted));
        apply(&mut state, &revoke("b", Some("d"))).unwrap();
        assert_eq!(state.role("editor").unwrap().permissions.len(), 2);
        let empty = AuthCommand::RoleGrant {
            role: name("editor"),
            permission: Permission { access: Access::Read, key: "b".into(), range_end: Some("b".into()) },
        };
        assert_eq!(apply(&mut state, &empty), Err(AuthError::InvalidAuthMgmt));
    }

    #[test]
    fn each_operation_needs_its_permission() {
        let state = enabled();
        let alice = user(&state, "alice");
        let denied = Err(AuthError::PermissionDenied);
        let put = |key: &'static str| Command::Put(PutRequest::new(key, "1"));
        assert_eq!(allowed(&state, &alice, &put("w")), Ok(()));
        assert_eq!(allowed(&state, &alice, &put("r")), denied);
        let prev = Command::Put(PutRequest { prev_kv: true, ..PutRequest::new("w", "1") });
        assert_eq!(allowed(&state, &alice, &prev), denied, "the old value would be read");
        let leased =
            |key: &'static str, lease| Command::Put(PutRequest::new(key, "1").with_lease(LeaseId(lease)));
        assert_eq!(allowed(&state, &alice, &leased("c", 7)), Ok(()));
        assert_eq!(allowed(&state, &alice, &leased("c", 8)), denied);
        assert_eq!(allowed(&state, &alice, &Command::LeaseRevoke(LeaseId(7))), Ok(()));
        assert_eq!(allowed(&state, &alice, &Command::LeaseRevoke(LeaseId(8))), denied);
        assert_eq!(allowed(&state, &user(&state, "root"), &Command::LeaseRevoke(LeaseId(8))), Ok(()));
        assert_eq!(allowed(&state, &alice, &Command::Auth(AuthCommand::Disable)), denied);
        assert_eq!(allowed(&state, &Caller::Anonymous, &put("w")), Err(AuthError::UserEmpty));
        let old = Caller::User { name: "alice".into(), auth_revision: state.revision - 1 };
        assert_eq!(allowed(&state, &old, &put("w")), Err(AuthError::OldRevision));
    }

    #[test]
    fn every_part_of_a_transaction_is_checked_in_both_branches_and_at_every_depth() {
        let state = enabled();
        let alice = user(&state, "alice");
        let fine = Txn::when([crate::api::Compare::absent("r")]).then([PutRequest::new("w", "1")]);
        assert_eq!(allowed(&state, &alice, &Command::Txn(fine.clone())), Ok(()));
        let compare = Txn::when([crate::api::Compare::absent("w")]).then([PutRequest::new("w", "1")]);
        let branch = fine.clone().otherwise([RangeRequest::key("secret")]);
        let nested = Txn::default().then([fine.clone().then([RangeRequest::prefix("b")])]);
        let deep = Txn::default().then([Txn::default().then([branch.clone()])]);
        for (what, txn, expected) in [
            ("compare", compare, Err(AuthError::PermissionDenied)),
            ("the branch not taken", branch, Err(AuthError::PermissionDenied)),
            ("nested", nested, Ok(())),
            ("deep", deep, Err(AuthError::PermissionDenied)),
        ] {
            assert_eq!(allowed(&state, &alice, &Command::Txn(txn)), expected, "{what}");
        }
    }

    #[test]
    fn a_change_of_password_voids_the_users_tokens() {
        let state = enabled();
        let change = AuthCommand::UserChangePassword { name: name("alice"), hash: vec![9] };
        assert_eq!(decide(&state, &change).unwrap().forget.as_deref(), Some("alice"));
    }
}
