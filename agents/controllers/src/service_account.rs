//! Each namespace has a service account `default`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Filter, Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;

const NAME: &str = "default";

/// Creates the default service account of each namespace.
pub(crate) struct ServiceAccountController {
    namespaces: Reader<Namespace>,
    accounts: Reader<ServiceAccount>,
}

pub(crate) struct World {
    namespace: Arc<Namespace>,
    exists: bool,
}

impl ServiceAccountController {
    pub(crate) fn new(informers: &Informers) -> Self {
        let only_default = Filter::fields(format!("metadata.name={NAME}"));
        Self { namespaces: informers.reader(), accounts: informers.filtered(only_default) }
    }
}

impl Reconciler for ServiceAccountController {
    type World = World;

    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let namespace_of = |account: &ServiceAccount| {
            account.metadata.namespace.clone().map(ObjectKey::cluster).into_iter().collect()
        };
        vec![Watch::of(&self.namespaces), Watch::map(&self.accounts, namespace_of)]
    }

    async fn observe(&self, key: &ObjectKey, _now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(None) };
        let exists = self.accounts.get_named(&key.name, NAME).is_some();
        Ok(Some(World { namespace, exists }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

fn plan(world: &World) -> (Vec<Step>, Next) {
    if world.exists || is_terminating(&world.namespace) {
        return (Vec::new(), Next::Done);
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: world.namespace.metadata.name.clone(),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    (vec![Step::ensure(&account)], Next::Done)
}

/// Whether nothing can be created in the namespace any more.
pub(crate) fn is_terminating(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_some() || phase == Some("Terminating")
}
