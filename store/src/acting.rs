//! Acting for somebody: a store handle that checks each call against the permissions of its caller.
use crate::Store;
use crate::api::{AuthError, AuthOptions, Caller, RangeError, RangeRequest, WatchRequest, WriteError};
use crate::auth::{Auth, AuthState, AuthTable};
use crate::core::Core;
use crate::mvcc::{Applied, Command, KeyRange, Reply};

impl Store {
    /// A handle on the same store whose calls are made on behalf of `caller`, and refused where that may not do what they ask for.
    ///
    /// Writes are checked where they are applied, against the users, roles and permissions of that moment; reads before and after they are
    /// run. While authentication is not enabled, everybody may do everything. The handle that [`Store::open`] gives acts for nobody and may
    /// always do everything.
    ///
    /// ```
    /// use mainstay_store::{Access, AuthOptions, Config, Permission, RangeError, RangeRequest, Store};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let auth = AuthOptions { bcrypt_cost: 4, ..AuthOptions::default() };
    /// # let store = Store::open(Config { dir: dir.path().into(), disk_reserve_bytes: 1 << 20, auth, ..Config::default() }).await?;
    /// let auth = store.auth();
    /// auth.user_add("root", Some("secret")).await?;
    /// auth.user_grant_role("root", "root").await?;
    /// auth.user_add("alice", Some("open sesame")).await?;
    /// auth.role_add("reader").await?;
    /// let greeting = Permission { access: Access::Read, key: "greeting".into(), range_end: None };
    /// auth.role_grant("reader", greeting).await?;
    /// auth.user_grant_role("alice", "reader").await?;
    /// auth.enable().await?;
    ///
    /// let alice = store.acting_as(auth.login("alice", "open sesame").await?);
    /// alice.range(RangeRequest::key("greeting")).await?;
    /// assert!(alice.range(RangeRequest::all()).await.is_err());
    /// assert!(alice.put("greeting", "hi").await.is_err());
    /// # store.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn acting_as(&self, caller: Caller) -> Self {
        let mut acting = self.clone();
        acting.caller = Some(caller);
        acting
    }

    /// On whose behalf this handle's calls are made; none may do everything.
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Users, roles and permissions.
    pub fn auth(&self) -> Auth {
        Auth { store: self.clone() }
    }

    /// Whether callers are checked, as far as this member knows. Costs one atomic read.
    pub fn auth_enabled(&self) -> bool {
        self.auth_table().is_enabled()
    }

    /// Whether the caller may administrate the store: it has the role `root`, or authentication is not enabled.
    ///
    /// # Errors
    /// What the caller is to be told.
    pub fn check_admin(&self) -> Result<(), AuthError> {
        self.check_caller(AuthState::admin)
    }

    /// Whether the caller is anybody: what calls that need no permission ask for.
    ///
    /// # Errors
    /// [`AuthError::UserEmpty`] if it is not, and authentication is enabled.
    pub fn check_known(&self) -> Result<(), AuthError> {
        self.check_caller(AuthState::known)
    }

    /// Whether the caller may follow these keys.
    ///
    /// # Errors
    /// What the caller is to be told; a [`Store::watch`] of it would end with the same.
    pub async fn check_watch(&self, request: &WatchRequest) -> Result<(), AuthError> {
        let range = KeyRange::new(&request.key, request.range_end.as_ref());
        self.allowed(|state, caller| state.check_read(caller, range)).await
    }

    fn check_caller(
        &self,
        check: impl FnOnce(&AuthState, &Caller) -> Result<(), AuthError>,
    ) -> Result<(), AuthError> {
        match &self.caller {
            Some(caller) if self.auth_table().is_enabled() => check(&self.auth_table().state(), caller),
            _ => Ok(()),
        }
    }

    /// Like [`Self::check_caller`], but a refusal is checked again once this member has caught up: what it lacks may be a grant.
    pub(crate) async fn allowed(
        &self,
        check: impl Fn(&AuthState, &Caller) -> Result<(), AuthError> + Send + Sync,
    ) -> Result<(), AuthError> {
        match self.check_caller(&check) {
            Ok(()) => Ok(()),
            Err(refused) if self.read_barrier().await.is_err() => Err(refused),
            Err(_) => self.check_caller(check),
        }
    }

    /// Runs a read that the caller may make, and gives its answer if nothing about that has changed meanwhile.
    pub(crate) async fn guarded<T, E: From<AuthError>>(
        &self,
        check: impl Fn(&AuthState, &Caller) -> Result<(), AuthError> + Send + Sync,
        read: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        if self.caller.is_none() {
            return read.await;
        }
        self.allowed(check).await?;
        let answer = read.await?;
        self.check_caller(AuthState::unchanged_for)?;
        Ok(answer)
    }

    /// The check of a range.
    pub(crate) fn range_check(
        request: &RangeRequest,
    ) -> impl Fn(&AuthState, &Caller) -> Result<(), AuthError> + Send + Sync + use<> {
        let (key, end) = (request.key.clone(), request.range_end.clone());
        move |state, caller| state.check_read(caller, KeyRange::new(&key, end.as_ref()))
    }

    /// Writes a command through the log, with the caller's name on it if there is one.
    pub(crate) async fn propose(&self, command: Command) -> Applied {
        let command = match &self.caller {
            None => command,
            Some(caller) => Command::As { caller: caller.clone(), command: Box::new(command) },
        };
        self.core().propose(command, self.times.as_ref()).await
    }

    pub(crate) async fn propose_auth(&self, command: Command) -> Result<(), WriteError> {
        match self.propose(command).await? {
            Reply::Auth => Ok(()),
            other => Err(WriteError::Unknown(format!("an answer to another command: {other:?}"))),
        }
    }

    pub(crate) fn auth_table(&self) -> &AuthTable {
        self.core().tables.auth()
    }

    pub(crate) fn auth_options(&self) -> &AuthOptions {
        self.auth_table().options()
    }

    pub(crate) fn applied_index(&self) -> u64 {
        self.core().queue.applied_index().unwrap_or(0)
    }

    /// Resolves when this member has applied all that was acknowledged before the call.
    pub(crate) async fn read_barrier(&self) -> Result<(), RangeError> {
        Core::read_barrier(self.core()).await
    }
}
