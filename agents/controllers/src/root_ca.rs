//! Each namespace has a ConfigMap `kube-root-ca.crt` with the CA that the API server is verified with.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Filter, Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;
use serde_json::json;
use tokio::sync::watch;

use crate::service_account::is_terminating;

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

/// Publishes the cluster's CA in each namespace.
pub(crate) struct RootCaPublisher {
    namespaces: Reader<Namespace>,
    config_maps: Reader<ConfigMap>,
    pem: watch::Receiver<String>,
}

pub(crate) struct World {
    namespace: Arc<Namespace>,
    present: Option<Arc<ConfigMap>>,
    pem: String,
}

impl RootCaPublisher {
    pub(crate) fn new(informers: &Informers, pem: watch::Receiver<String>) -> Self {
        let only_ours = Filter::fields(format!("metadata.name={NAME}"));
        Self { namespaces: informers.reader(), config_maps: informers.filtered(only_ours), pem }
    }
}

impl Reconciler for RootCaPublisher {
    type World = World;

    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher"
    }

    fn watches(&self) -> Vec<Watch> {
        let namespace_of = |config_map: &ConfigMap| {
            config_map.metadata.namespace.clone().map(ObjectKey::cluster).into_iter().collect()
        };
        let news = (self.pem.clone(), self.namespaces.clone());
        // Another bundle concerns all namespaces.
        let others = stream::unfold(news, |(mut pem, namespaces)| async move {
            pem.changed().await.ok()?;
            let all = namespaces.list().iter().map(|one| ObjectKey::of(one.as_ref())).collect();
            Some((all, (pem, namespaces)))
        });
        vec![Watch::of(&self.namespaces), Watch::map(&self.config_maps, namespace_of), Watch::keys(others)]
    }

    async fn observe(&self, key: &ObjectKey, _now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(None) };
        let present = self.config_maps.get_named(&key.name, NAME);
        Ok(Some(World { namespace, present, pem: self.pem.borrow().clone() }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan(world)
    }
}

fn plan(world: &World) -> (Vec<Step>, Next) {
    if world.pem.is_empty() || is_terminating(&world.namespace) {
        return (Vec::new(), Next::Done);
    }
    let data = BTreeMap::from([(KEY.to_owned(), world.pem.clone())]);
    let description = BTreeMap::from([(DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned())]);
    let step = match &world.present {
        None => Step::ensure(&ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: world.namespace.metadata.name.clone(),
                annotations: Some(description),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        }),
        Some(present) if present.data.as_ref() != Some(&data) => {
            let mut wrong: BTreeMap<&String, serde_json::Value> =
                present.data.iter().flatten().map(|(key, _)| (key, serde_json::Value::Null)).collect();
            wrong.extend(data.iter().map(|(key, value)| (key, json!(value))));
            Step::merge_exact(
                present.as_ref(),
                json!({"data": wrong, "metadata": {"annotations": {DESCRIPTION: DESCRIPTION_TEXT}}}),
            )
        }
        Some(_) => return (Vec::new(), Next::Done),
    };
    (vec![step], Next::Done)
}
