//! Removes bootstrap tokens when their time is over (upstream's `tokencleaner`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Filter, Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;
use mainstay_agents_kit::time::elapsed;

const TOKENS: &str = "metadata.namespace=kube-system,type=bootstrap.kubernetes.io/token";

/// Removes tokens that have ended.
pub(crate) struct TokenCleaner {
    secrets: Reader<Secret>,
}

pub(crate) struct World {
    secret: Arc<Secret>,
    now: Timestamp,
}

impl TokenCleaner {
    pub(crate) fn new(informers: &Informers) -> Self {
        Self { secrets: informers.filtered(Filter::fields(TOKENS)) }
    }
}

impl Reconciler for TokenCleaner {
    type World = World;

    fn name(&self) -> &'static str {
        "token-cleaner-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::of(&self.secrets)]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        Ok(self.secrets.get(key).map(|secret| World { secret, now }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

fn plan(world: &World) -> (Vec<Step>, Next) {
    let expiration = world.secret.data.as_ref().and_then(|data| data.get("expiration"));
    let Some(expiration) = expiration.filter(|text| !text.0.is_empty()) else {
        return (Vec::new(), Next::Done);
    };
    // As upstream: a time that cannot be read is over.
    let ends = std::str::from_utf8(&expiration.0).ok().and_then(|text| text.parse::<Timestamp>().ok());
    match ends.filter(|ends| *ends > world.now) {
        Some(ends) => (Vec::new(), Next::After(elapsed(world.now, ends))),
        None => (vec![Step::delete(world.secret.as_ref())], Next::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[test]
    fn a_token_goes_when_its_time_is_over() {
        let plan_of = |expiration: Option<&str>| {
            let data = expiration.map(|text| ("expiration".to_owned(), ByteString(text.as_bytes().to_vec())));
            let data: BTreeMap<_, _> = data.into_iter().collect();
            let mut secret = Secret { data: Some(data), ..Secret::default() };
            secret.metadata.name = Some("bootstrap-token-abcdef".to_owned());
            secret.metadata.namespace = Some("kube-system".to_owned());
            let world = World { secret: Arc::new(secret), now: "2026-01-01T00:00:00Z".parse().unwrap() };
            let (steps, next) = plan(&world);
            (steps.len(), next)
        };
        assert_eq!(plan_of(None), (0, Next::Done));
        assert_eq!(plan_of(Some("2026-01-01T00:01:00Z")), (0, Next::After(Duration::from_secs(60))));
        assert_eq!(plan_of(Some("2026-01-01T00:00:00Z")).0, 1);
        assert_eq!(plan_of(Some("soon")).0, 1);
    }
}
