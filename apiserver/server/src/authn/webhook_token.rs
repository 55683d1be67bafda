//! Tokens that a webhook knows: it is sent a TokenReview, and its answer is remembered for a while.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;
use tokio::time::Instant;

use crate::outbound::Caller;
use crate::types::UserInfo;

/// The time that the webhook has.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Answers that are remembered; beyond it all are forgotten.
const ANSWERS_MAX: usize = 4096;

/// What the webhook said about a token.
pub type Answer = Option<(UserInfo, Vec<SmolStr>)>;

/// Asks the webhook.
pub struct WebhookTokens {
    caller: Caller,
    lifetime: Duration,
    answers: Mutex<HashMap<[u8; 32], (Instant, Answer)>>,
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
struct ReviewStatus {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    user: UserInfo,
    #[serde(default)]
    audiences: Vec<SmolStr>,
    #[serde(default)]
    error: String,
}

impl WebhookTokens {
    /// Asks through `caller` and remembers answers for `lifetime`.
    pub fn new(caller: Caller, lifetime: Duration) -> Self {
        Self { caller, lifetime, answers: Mutex::default() }
    }

    /// Whose token it is, for the wanted audiences.
    ///
    /// # Errors
    /// The webhook gives no usable answer; that is not remembered.
    pub async fn find(&self, token: &str, audiences: &[String], now: Instant) -> Result<Answer, String> {
        let key = digest(token, audiences);
        if let Some((until, answer)) = self.answers.lock().get(&key)
            && *until > now
        {
            return Ok(answer.clone());
        }
        let answer = self.ask(token, audiences).await?;
        let mut answers = self.answers.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(key, (now + self.lifetime, answer.clone()));
        Ok(answer)
    }

    async fn ask(&self, token: &str, audiences: &[String]) -> Result<Answer, String> {
        let review = serde_json::json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences}
        });
        let answer = self.caller.post("", Bytes::from(review.to_string()), TIMEOUT).await;
        let (code, body) = answer.map_err(|error| error.to_string())?;
        if !(200..300).contains(&code) {
            return Err(format!("the token webhook answered {code}"));
        }
        let review: Review = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let status = review.status;
        if !status.authenticated {
            return if status.error.is_empty() { Ok(None) } else { Err(status.error) };
        }
        Ok(Some((status.user, status.audiences)))
    }
}

fn digest(token: &str, audiences: &[String]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in std::iter::once(token).chain(audiences.iter().map(String::as_str)) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}
