//! The calls on users, roles and permissions.
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{AuthCommand, AuthState, TokenHash, password, token};
use crate::Store;
use crate::api::{AuthCallError, AuthError, AuthStatus, Caller, Permission};
use crate::mvcc::Command;

/// Users, roles and permissions of a store; see [`Store::auth`].
///
/// While authentication is enabled, calls that change anything need the role `root`, unless they are made on a store that acts for nobody
/// (as [`Store::open`](crate::Store::open) gives it): who holds that holds everything.
#[derive(Clone, Debug)]
pub struct Auth {
    pub(crate) store: Store,
}

impl Auth {
    /// Starts to check callers. A user `root` with the role `root` must exist.
    pub async fn enable(&self) -> Result<(), AuthCallError> {
        self.change(AuthCommand::Enable).await
    }

    /// Stops checking callers, and voids all tokens.
    pub async fn disable(&self) -> Result<(), AuthCallError> {
        self.change(AuthCommand::Disable).await
    }

    /// Whether callers are checked, and the revision of the state.
    pub async fn status(&self) -> Result<AuthStatus, AuthCallError> {
        let state = self.state().await?;
        Ok(AuthStatus { enabled: state.enabled, revision: state.revision })
    }

    /// Adds a user; without password it can only be identified by other means, such as a certificate. The password is hashed here, by the
    /// caller's member, and leaves it only as a hash.
    pub async fn user_add(&self, name: &str, password: Option<&str>) -> Result<(), AuthCallError> {
        let hash = match password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        self.change(AuthCommand::UserAdd { name: name.to_owned(), hash }).await
    }

    /// Adds a user with a password that was hashed by bcrypt already.
    pub async fn user_add_hashed(&self, name: &str, hash: Vec<u8>) -> Result<(), AuthCallError> {
        self.change(AuthCommand::UserAdd { name: name.to_owned(), hash: Some(hash) }).await
    }

    /// Deletes a user, and voids its tokens.
    pub async fn user_delete(&self, name: &str) -> Result<(), AuthCallError> {
        self.change(AuthCommand::UserDelete { name: name.to_owned() }).await
    }

    /// Changes a password, and voids the user's tokens. With an empty one the user cannot log in by password.
    pub async fn user_change_password(&self, name: &str, password: &str) -> Result<(), AuthCallError> {
        let hash = if password.is_empty() { Vec::new() } else { self.hash(password).await? };
        self.change(AuthCommand::UserChangePassword { name: name.to_owned(), hash }).await
    }

    /// Changes a password to one that was hashed by bcrypt already.
    pub async fn user_change_password_hashed(&self, name: &str, hash: Vec<u8>) -> Result<(), AuthCallError> {
        self.change(AuthCommand::UserChangePassword { name: name.to_owned(), hash }).await
    }

    /// Gives a user a role.
    pub async fn user_grant_role(&self, name: &str, role: &str) -> Result<(), AuthCallError> {
        self.change(AuthCommand::UserGrantRole { name: name.to_owned(), role: role.to_owned() }).await
    }

    /// Takes a role from a user.
    pub async fn user_revoke_role(&self, name: &str, role: &str) -> Result<(), AuthCallError> {
        self.change(AuthCommand::UserRevokeRole { name: name.to_owned(), role: role.to_owned() }).await
    }

    /// A user's roles, in order. Users may ask about themselves.
    pub async fn user_roles(&self, name: &str) -> Result<Vec<String>, AuthCallError> {
        let state = self.state().await?;
        let own = matches!(self.store.caller(), Some(Caller::User { name: own, .. }) if **own == *name);
        if !own {
            self.admin(&state)?;
        }
        Ok(state.user(name).ok_or(AuthError::UserNotFound)?.roles.clone())
    }

    /// The names of all users, in order.
    pub async fn users(&self) -> Result<Vec<String>, AuthCallError> {
        let state = self.state().await?;
        self.admin(&state)?;
        Ok(state.users().map(|(name, _)| name.to_owned()).collect())
    }

    /// Adds a role without permissions.
    pub async fn role_add(&self, role: &str) -> Result<(), AuthCallError> {
        self.change(AuthCommand::RoleAdd { role: role.to_owned() }).await
    }

    /// Deletes a role, and takes it from all who have it.
    pub async fn role_delete(&self, role: &str) -> Result<(), AuthCallError> {
        self.change(AuthCommand::RoleDelete { role: role.to_owned() }).await
    }

    /// Gives a role a permission, in place of one that it had on the same range.
    pub async fn role_grant(&self, role: &str, permission: Permission) -> Result<(), AuthCallError> {
        self.change(AuthCommand::RoleGrant { role: role.to_owned(), permission }).await
    }

    /// Takes the permission on exactly this range from a role.
    pub async fn role_revoke(
        &self,
        role: &str,
        key: impl Into<Bytes> + Send,
        range_end: Option<Bytes>,
    ) -> Result<(), AuthCallError> {
        let command = AuthCommand::RoleRevoke { role: role.to_owned(), key: key.into(), range_end };
        self.change(command).await
    }

    /// A role's permissions, by key; for the role `root` one on all keys. Users may ask about the roles that they have.
    pub async fn role_permissions(&self, role: &str) -> Result<Vec<Permission>, AuthCallError> {
        let state = self.state().await?;
        let has = match self.store.caller() {
            Some(Caller::User { name, .. }) => state.user(name).is_some_and(|user| user.has_role(role)),
            _ => false,
        };
        if !has {
            self.admin(&state)?;
        }
        let record = state.role(role).ok_or(AuthError::RoleNotFound)?;
        if role == super::state::ROOT {
            let range_end = Some(Bytes::from_static(b"\0"));
            return Ok(vec![Permission {
                access: crate::api::Access::ReadWrite,
                key: Bytes::new(),
                range_end,
            }]);
        }
        Ok(record.permissions.clone())
    }

    /// The names of all roles, in order.
    pub async fn roles(&self) -> Result<Vec<String>, AuthCallError> {
        let state = self.state().await?;
        self.admin(&state)?;
        Ok(state.roles().map(|(name, _)| name.to_owned()).collect())
    }

    /// Checks a password, and tells whom to act for.
    ///
    /// # Errors
    /// [`AuthError::AuthFailed`] if the user does not exist, has no password, or has another one; all three take about as long.
    pub async fn login(&self, name: &str, password: &str) -> Result<Caller, AuthCallError> {
        let state = self.state().await?;
        if !state.enabled {
            return Err(AuthError::NotEnabled.into());
        }
        let user = state.user(name).filter(|user| !user.no_password);
        // A user who does not exist costs a hash as well, or its absence could be timed.
        let Some(user) = user else {
            self.hash("").await?;
            return Err(AuthError::AuthFailed.into());
        };
        if !password::matches(self.store.auth_table().turns(), password, &user.hash).await? {
            return Err(AuthError::AuthFailed.into());
        }
        Ok(Caller::User { name: name.into(), auth_revision: state.revision })
    }

    /// Checks a password, and gives a token that stands for the user on every member until nobody has used it for
    /// [`AuthOptions::token_ttl`](crate::AuthOptions). Tokens do not survive a restart of their member.
    pub async fn authenticate(&self, name: &str, password: &str) -> Result<String, AuthCallError> {
        loop {
            let Caller::User { auth_revision, .. } = self.login(name, password).await? else {
                return Err(AuthError::AuthFailed.into());
            };
            let text = token::new_token(self.store.applied_index());
            let token = TokenHash::of(&text);
            self.change(AuthCommand::Authenticate { name: name.to_owned(), token }).await?;
            // The password was checked against this very state; else it may have been changed meanwhile.
            if self.store.auth_table().state().revision == auth_revision {
                return Ok(text);
            }
        }
    }

    /// Whom a token stands for.
    ///
    /// # Errors
    /// [`AuthError::InvalidAuthToken`] if it is unknown or was not used for too long.
    pub async fn caller_of(&self, token: &str) -> Result<Caller, AuthCallError> {
        let hash = TokenHash::of(token);
        let table = self.store.auth_table();
        // The revision first: what changes after the look at the tokens shows as an old revision.
        let mut auth_revision = table.state().revision;
        let mut user = table.user_of(&hash, Instant::now());
        if user.is_none() {
            // Another member may have given it a moment ago.
            self.store.read_barrier().await?;
            auth_revision = table.state().revision;
            user = table.user_of(&hash, Instant::now());
        }
        let name = user.ok_or(AuthError::InvalidAuthToken)?;
        Ok(Caller::User { name, auth_revision })
    }

    /// A caller for a user whose identity was established by other means, such as a certificate. Whether there is such a user shows when
    /// something needs a permission.
    pub fn identified(&self, name: &str) -> Caller {
        Caller::User { name: name.into(), auth_revision: self.store.auth_table().state().revision }
    }

    async fn hash(&self, password: &str) -> Result<Vec<u8>, AuthCallError> {
        let cost = self.store.auth_options().bcrypt_cost;
        password::hash(self.store.auth_table().turns(), password, cost).await
    }

    /// The state as of now: it sees every change acknowledged before the call.
    async fn state(&self) -> Result<Arc<AuthState>, AuthCallError> {
        self.store.read_barrier().await?;
        Ok(self.store.auth_table().state())
    }

    fn admin(&self, state: &AuthState) -> Result<(), AuthError> {
        self.store.caller().map_or(Ok(()), |caller| state.admin(caller))
    }

    async fn change(&self, command: AuthCommand) -> Result<(), AuthCallError> {
        Ok(self.store.propose_auth(Command::Auth(command)).await?)
    }
}
