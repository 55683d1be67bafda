//! Tokens that stand for a user for a while. Members know only their hashes, and forget those that nobody uses.
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

pub(super) const HASH_BYTES: usize = 32;
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const TOKEN_LETTERS: usize = 16;
/// So many tokens are known at once; beyond that the one that would expire first goes.
const TOKENS_MAX: usize = 100_000;

/// What the log and the members hold of a token: who reads them cannot use it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash(pub(crate) [u8; HASH_BYTES]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

impl TokenHash {
    pub(crate) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

/// A new token, of etcd's shape: letters, a dot, and a number (there and here the log entry that was last applied).
pub(super) fn new_token(applied_index: u64) -> String {
    let mut random = rand::rng();
    let letters = (0..TOKEN_LETTERS).filter_map(|_| LETTERS.get(random.random_range(0..LETTERS.len())));
    let mut token: String = letters.map(|letter| char::from(*letter)).collect();
    token.push('.');
    token.push_str(&applied_index.to_string());
    token
}

struct Held {
    user: Arc<str>,
    deadline: Instant,
}

/// The tokens that this member honours.
pub(super) struct Tokens {
    held: HashMap<TokenHash, Held>,
    ttl: Duration,
    /// Expired tokens are looked for when there are so many.
    sweep_at: usize,
}

impl Tokens {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { held: HashMap::new(), ttl, sweep_at: 64 }
    }

    pub(super) fn add(&mut self, token: TokenHash, user: Arc<str>, now: Instant) {
        if self.held.len() >= self.sweep_at {
            self.held.retain(|_, held| held.deadline > now);
            self.sweep_at = (self.held.len() * 2).clamp(64, TOKENS_MAX);
            if self.held.len() >= TOKENS_MAX
                && let Some(first) =
                    self.held.iter().min_by_key(|(_, held)| held.deadline).map(|(token, _)| *token)
            {
                self.held.remove(&first);
            }
        }
        self.held.insert(token, Held { user, deadline: now + self.ttl });
    }

    /// Whose token it is; its time starts anew.
    pub(super) fn user(&mut self, token: &TokenHash, now: Instant) -> Option<Arc<str>> {
        let held = self.held.get_mut(token)?;
        if held.deadline <= now {
            self.held.remove(token);
            return None;
        }
        held.deadline = now + self.ttl;
        Some(Arc::clone(&held.user))
    }

    pub(super) fn forget(&mut self, user: &str) {
        self.held.retain(|_, held| &*held.user != user);
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_as_long_as_it_is_used() {
        let second = Duration::from_secs(1);
        let mut tokens = Tokens::new(5 * second);
        let start = Instant::now();
        let token = TokenHash::of("t.1");
        tokens.add(token, "alice".into(), start);
        assert_eq!(tokens.user(&token, start + 4 * second).as_deref(), Some("alice"));
        assert_eq!(tokens.user(&token, start + 8 * second).as_deref(), Some("alice"));
        assert_eq!(tokens.user(&token, start + 13 * second), None);
        assert_eq!(tokens.user(&token, start), None, "it is gone");
    }

    #[test]
    fn a_users_tokens_are_forgotten_together() {
        let mut tokens = Tokens::new(Duration::from_secs(5));
        let now = Instant::now();
        for (text, user) in [("1", "alice"), ("2", "alice"), ("3", "bob")] {
            tokens.add(TokenHash::of(text), user.into(), now);
        }
        tokens.forget("alice");
        assert_eq!(tokens.user(&TokenHash::of("1"), now), None);
        assert_eq!(tokens.user(&TokenHash::of("3"), now).as_deref(), Some("bob"));
    }

    #[test]
    fn expired_tokens_take_no_room() {
        let mut tokens = Tokens::new(Duration::from_secs(1));
        let start = Instant::now();
        for number in 0..1000_u32 {
            let now = start + Duration::from_secs(number.into());
            tokens.add(TokenHash::of(&number.to_string()), "alice".into(), now);
        }
        assert!(tokens.held.len() <= 65, "{}", tokens.held.len());
    }

    #[test]
    fn tokens_differ_and_look_like_etcds() {
        let (a, b) = (new_token(7), new_token(7));
        assert_ne!(a, b);
        let (letters, number) = a.split_once('.').unwrap();
        assert!(letters.len() == 16 && letters.bytes().all(|byte| byte.is_ascii_alphabetic()), "{a}");
        assert_eq!(number, "7");
    }
}
