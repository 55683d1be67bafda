//! [`WebhookAuthorizer`]: asks one webhook, after its conditions and its memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use mainstay_base::lifecycle::Clock;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::conditions::Met;
use super::config::WebhookConfig;
use super::metrics::AuthorizationMetrics;
use super::review::{Said, body, said, spec};
use crate::outbound::Caller;
use crate::types::{Attributes, Decision, UserInfo, Verdict};

/// Answers that are remembered; beyond it all are forgotten.
const ANSWERS_MAX: usize = 8192;
/// What the caller chooses must be shorter than this for its answer to be remembered, in bytes.
const CHOSEN_BYTES_MAX: usize = 10_000;
/// Calls for one question; upstream's backoff between them.
const CALLS_MAX: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_FACTOR: f64 = 1.5;

/// Asks a webhook.
pub struct WebhookAuthorizer {
    config: WebhookConfig,
    caller: Caller,
    clock: Arc<dyn Clock>,
    metrics: AuthorizationMetrics,
    /// Answers by the spec of their review, and until when they hold.
    answers: Mutex<HashMap<String, (Instant, Said)>>,
}

/// Why a call gave no answer.
struct Failure {
    why: String,
    /// The metric's label.
    result: &'static str,
    is_worth_another: bool,
}

impl WebhookAuthorizer {
    /// Asks through `caller`.
    pub(crate) fn new(
        config: WebhookConfig,
        caller: Caller,
        clock: Arc<dyn Clock>,
        metrics: AuthorizationMetrics,
    ) -> Self {
        Self { config, caller, clock, metrics, answers: Mutex::default() }
    }

    /// The decision, at once where the conditions or the memory give it.
    pub(crate) fn ask(self: &Arc<Self>, user: &UserInfo, asked: &Attributes) -> Verdict<'static> {
        let spec = spec(user, asked);
        if !self.config.conditions.is_empty() {
            match self.config.conditions.met(&spec) {
                Met::All => {}
                Met::No => return Verdict::Now(Decision::NoOpinion(String::new())),
                Met::Failed(error) => return Verdict::Now(self.failed(error)),
            }
        }
        let body = body(&spec, self.config.version);
        let Ok(text) = serde_json::to_string(&body) else {
            return Verdict::Now(self.failed("the review cannot be written".to_owned()));
        };
        if let Some((until, said)) = self.answers.lock().get(&text)
            && *until > self.clock.now()
        {
            return Verdict::Now(said.decision());
        }
        let is_remembered = chosen_bytes(asked) < CHOSEN_BYTES_MAX;
        Verdict::Later(Arc::clone(self).call(text, is_remembered))
    }

    fn call(self: Arc<Self>, text: String, is_remembered: bool) -> BoxFuture<'static, Decision> {
        Box::pin(async move {
            match self.answer(&Bytes::from(text.clone())).await {
                Ok(said) => {
                    if is_remembered {
                        self.remember(text, said.clone());
                    }
                    said.decision()
                }
                Err(failure) => {
                    let name = self.config.name.as_str();
                    warn!(webhook = name, error = %failure.why, "the authorization webhook gives no answer");
                    if !self.config.failure_denies {
                        self.metrics.failed_open.with_label_values(&[name, failure.result]).inc();
                    }
                    self.failed(failure.why)
                }
            }
        })
    }

    async fn answer(&self, body: &Bytes) -> Result<Said, Failure> {
        let mut wait = BACKOFF;
        for _earlier in 1..CALLS_MAX {
            match self.answer_once(body).await {
                Err(failure) if failure.is_worth_another => {}
                other => return other,
            }
            tokio::time::sleep(wait).await;
            wait = wait.mul_f64(BACKOFF_FACTOR);
        }
        self.answer_once(body).await
    }

    async fn answer_once(&self, body: &Bytes) -> Result<Said, Failure> {
        let answer = self.caller.post("", body.clone(), self.config.timeout).await;
        let result = match answer {
            Ok((code, body)) if (200..300).contains(&code) => said(&body).map_err(|why| Failure {
                why: format!("the webhook's answer is no SubjectAccessReview: {why}"),
                result: "error",
                is_worth_another: false,
            }),
            Ok((code, _)) => Err(Failure {
                why: format!("the webhook answered {code}"),
                result: if code == 504 { "timeout" } else { "error" },
                is_worth_another: code == 429 || code >= 500,
            }),
            Err(error) => {
                let why = error.to_string();
                let is_late = why.contains("deadline exceeded");
                Err(Failure {
                    why,
                    result: if is_late { "timeout" } else { "error" },
                    is_worth_another: !is_late,
                })
            }
        };
        let label = result.as_ref().map_or_else(|failure| failure.result, |_| "success");
        self.metrics.evaluations.with_label_values(&[self.config.name.as_str(), label]).inc();
        result
    }

    fn remember(&self, text: String, said: Said) {
        let ttl = if said.allowed { self.config.authorized_ttl } else { self.config.unauthorized_ttl };
        let Some(ttl) = ttl else { return };
        let mut answers = self.answers.lock();
        if answers.len() >= ANSWERS_MAX {
            let now = self.clock.now();
            answers.retain(|_, (until, _)| *until > now);
            if answers.len() >= ANSWERS_MAX {
                answers.clear();
            }
        }
        answers.insert(text, (self.clock.now() + ttl, said));
    }

    fn failed(&self, error: String) -> Decision {
        Decision::Failed { error, denies: self.config.failure_denies }
    }
}

impl std::fmt::Debug for WebhookAuthorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookAuthorizer").field("name", &self.config.name).finish_non_exhaustive()
    }
}

/// Bytes of a question that its asker chooses.
fn chosen_bytes(asked: &Attributes) -> usize {
    let parts = [
        &asked.namespace,
        &asked.verb,
        &asked.api_group,
        &asked.api_version,
        &asked.resource,
        &asked.subresource,
        &asked.name,
        &asked.path,
        &asked.field_selector,
        &asked.label_selector,
    ];
    parts.into_iter().map(smol_str::SmolStr::len).sum()
}
