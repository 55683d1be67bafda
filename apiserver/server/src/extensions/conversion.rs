//! [`WebhookConverter`]: asks the webhook of a definition to convert custom resources. What is asked and what may be
//! answered is decided in `extensions::custom::conversion`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use mainstay_apiserver_extensions::custom::conversion::{answer, question, review_version, webhook_for};
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use sha2::{Digest, Sha256};
use smol_str::SmolStr;

use crate::callout::{Callee, Caller};
use crate::config::Randomness;
use crate::registry::Convert;

/// How long a conversion may take, as upstream.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks conversion webhooks.
pub struct WebhookConverter {
    caller: Caller,
    randomness: Arc<dyn Randomness>,
}

impl WebhookConverter {
    /// Calls by `caller`.
    pub fn new(caller: Caller, randomness: Arc<dyn Randomness>) -> Self {
        Self { caller, randomness }
    }

    async fn ask(&self, objects: Vec<Value>, to: &'static Kind) -> Result<Vec<Value>, String> {
        let webhook = to.rules.converter().ok_or("the definition of the resource has no webhook any more")?;
        let version = review_version(webhook.path_list(&["conversionReviewVersions"]))?;
        let failed = |why: &dyn std::fmt::Display| format!("{} failed: {why}", webhook_for(&objects));
        let config = webhook.get("clientConfig").unwrap_or(&Value::Null);
        let callee = Callee::read(key(config), config, TIMEOUT).map_err(|error| failed(&error))?;
        let (uid, api_version) = (self.uid(), to.api_version());
        let review = json::to_string(&question(version, &uid, &api_version, &objects)).into_bytes();
        let body = self.caller.post(&callee, review).await.map_err(|error| failed(&error))?;
        let review = json::decode_free(&body).map_err(|error| failed(&error))?;
        let mut converted = answer((version, &uid, &api_version), &objects, review)?;
        for object in &mut converted {
            to.rules.loaded(object);
        }
        Ok(converted)
    }

    fn uid(&self) -> String {
        let mut bytes = [0; 16];
        self.randomness.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

/// Names a webhook by what its configuration says.
fn key(config: &Value) -> SmolStr {
    let digest = Sha256::digest(json::to_string(config).as_bytes());
    let mut key = String::with_capacity(64);
    for byte in digest {
        // Writing to a String cannot fail.
        let _written = write!(key, "{byte:02x}");
    }
    key.into()
}

impl Convert for WebhookConverter {
    fn convert<'a>(
        &'a self,
        objects: Vec<Value>,
        to: &'static Kind,
    ) -> BoxFuture<'a, Result<Vec<Value>, Status>> {
        // Upstream's errors of conversion are plain texts, without a reason.
        Box::pin(async move { self.ask(objects, to).await.map_err(|why| Status::failure(500, "", why)) })
    }
}
