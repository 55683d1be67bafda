//! The keys of an issuer, from where its OIDC document says they are.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use mainstay_base::lifecycle::{Clock, Tasks};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::IssuerConfig;
use crate::outbound::{Caller, Remote};

/// The time that an issuer has to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest time between two questions for keys: tokens with made-up key ids must not make the server ask.
const ASK_INTERVAL: Duration = Duration::from_secs(10);
const DOCUMENT_PATH: &str = "/.well-known/openid-configuration";

/// The keys of one issuer, fetched when they are first needed and when one is missing.
pub(super) struct IssuerKeys {
    config: Arc<IssuerConfig>,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    known: ArcSwap<Vec<Jwk>>,
    asked: Mutex<Option<Instant>>,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl IssuerKeys {
    pub(super) fn new(config: Arc<IssuerConfig>, tasks: Tasks, clock: Arc<dyn Clock>) -> Self {
        Self { config, tasks, clock, known: ArcSwap::default(), asked: Mutex::default() }
    }

    /// The keys that a token with this key id may be signed by.
    ///
    /// # Errors
    /// Why the issuer cannot be asked.
    pub(super) async fn find(&self, id: Option<&str>) -> Result<Vec<Jwk>, String> {
        let found = self.held(id);
        if !found.is_empty() {
            return Ok(found);
        }
        let mut asked = self.asked.lock().await;
        // Another may have asked while this one waited.
        let found = self.held(id);
        let now = self.clock.now();
        let asked_lately = asked.is_some_and(|at| now.saturating_duration_since(at) < ASK_INTERVAL);
        if !found.is_empty() || asked_lately {
            return Ok(found);
        }
        *asked = Some(now);
        self.known.store(Arc::new(self.fetch().await?.keys));
        Ok(self.held(id))
    }

    fn held(&self, id: Option<&str>) -> Vec<Jwk> {
        let known = self.known.load();
        let fits = |key: &&Jwk| id.is_none() || key.common.key_id.as_deref() == id;
        known.iter().filter(fits).cloned().collect()
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let url = self.config.discovery_url.clone();
        let url = url.unwrap_or_else(|| format!("{}{DOCUMENT_PATH}", self.config.url.trim_end_matches('/')));
        let document: Document = self.get(url).await?;
        if document.issuer != self.config.url {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {:?}",
                self.config.url, document.issuer
            ));
        }
        self.get(document.jwks_uri).await
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, url: String) -> Result<T, String> {
        if !url.starts_with("https://") {
            return Err(format!("{url:?} is no https URL"));
        }
        let remote = Remote {
            url,
            ca_pem: self.config.ca_pem.clone(),
            server_name: None,
            identity: None,
            bearer_token: None,
        };
        let (code, body) = Caller::new(remote, self.tasks.clone())
            .get("", TIMEOUT)
            .await
            .map_err(|error| error.to_string())?;
        if code != 200 {
            return Err(format!("the issuer answered {code}"));
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }
}
