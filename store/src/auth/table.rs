//! The authentication state that is in force on this member. Whoever never enables it pays one atomic read.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::password::CONCURRENT_HASHES;
use super::token::Tokens;
use super::{AuthEffect, AuthState, TokenHash};
use crate::api::AuthOptions;

/// The state, and the tokens that this member knows.
pub(crate) struct AuthTable {
    enabled: AtomicBool,
    state: RwLock<Arc<AuthState>>,
    tokens: Mutex<Tokens>,
    /// Turns to hash a password.
    turns: Semaphore,
    options: AuthOptions,
}

impl std::fmt::Debug for AuthTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthTable").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

impl AuthTable {
    pub(crate) fn new(state: AuthState, options: AuthOptions) -> Self {
        Self {
            enabled: AtomicBool::new(state.enabled),
            state: RwLock::new(Arc::new(state)),
            tokens: Mutex::new(Tokens::new(options.token_ttl)),
            turns: Semaphore::new(CONCURRENT_HASHES),
            options,
        }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> Arc<AuthState> {
        Arc::clone(&self.state.read())
    }

    /// Puts another state in force, as after taking a snapshot from another member. Tokens are void then: who they belong to may have changed.
    pub(crate) fn replace(&self, state: AuthState) {
        self.tokens.lock().clear();
        self.set(Arc::new(state));
    }

    /// Takes what a command did.
    pub(crate) fn absorb(&self, effect: &AuthEffect, now: Instant) {
        {
            let mut tokens = self.tokens.lock();
            if let Some(user) = &effect.forget {
                tokens.forget(user);
            }
            if !effect.state.enabled {
                tokens.clear();
            }
            if let Some((token, user)) = &effect.token {
                tokens.add(*token, Arc::clone(user), now);
            }
        }
        self.set(Arc::clone(&effect.state));
    }

    fn set(&self, state: Arc<AuthState>) {
        let enabled = state.enabled;
        *self.state.write() = state;
        // After the state: who sees the flag sees the state. Those who do not see it yet are concurrent with the change.
        self.enabled.store(enabled, Ordering::Release);
    }

    pub(crate) fn options(&self) -> &AuthOptions {
        &self.options
    }

    pub(super) fn turns(&self) -> &Semaphore {
        &self.turns
    }

    /// Whose token it is.
    pub(crate) fn user_of(&self, token: &TokenHash, now: Instant) -> Option<Arc<str>> {
        self.tokens.lock().user(token, now)
    }
}
