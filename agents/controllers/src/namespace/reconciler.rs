//! Observes a deleted namespace and all that is in it.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams, PartialObjectMeta};
use mainstay_agents_kit::ObjectKey;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::{Kind, Step};

use super::plan;
use super::world::{Content, World};
use crate::discovery::{Discovered, discover};
use crate::service_account::is_terminating;

/// Objects of one kind that one look reads.
const PAGE_LIMIT: u32 = 500;

/// Empties deleted namespaces.
pub(crate) struct NamespaceController {
    client: kube::Client,
    namespaces: Reader<Namespace>,
}

impl NamespaceController {
    pub(crate) fn new(informers: &Informers) -> Self {
        Self { client: informers.client(), namespaces: informers.reader() }
    }

    /// The objects of one kind; `None` when there are none.
    async fn content(&self, namespace: &str, discovered: &Discovered) -> Result<Option<Content>, String> {
        let resource = &discovered.resource;
        let api = Api::<PartialObjectMeta<DynamicObject>>::namespaced_with(
            self.client.clone(),
            namespace,
            resource,
        );
        let list = match api.list(&ListParams::default().limit(PAGE_LIMIT)).await {
            Ok(list) => list,
            // A resource that went between discovery and the list hides nothing.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", resource.plural)),
        };
        let beyond = list.metadata.remaining_item_count.unwrap_or(0);
        let objects: Vec<_> = list.items.into_iter().map(|object| object.metadata).collect();
        Ok((!objects.is_empty()).then(|| Content {
            kind: Kind::dynamic(resource),
            collection: discovered.has(&["deletecollection"]),
            objects,
            beyond,
        }))
    }
}

impl Reconciler for NamespaceController {
    type World = World;

    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::map(&self.namespaces, |namespace| {
            if is_terminating(namespace) { vec![ObjectKey::of(namespace)] } else { Vec::new() }
        })]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let deleted = self
            .namespaces
            .get(key)
            .filter(|namespace| namespace.metadata.deletion_timestamp.is_some() && plan::is_ours(namespace));
        let Some(namespace) = deleted else { return Ok(None) };
        let resources =
            discover(&self.client).await.map_err(|error| ObserveError::new("the API's resources", error))?;
        let listed = resources
            .iter()
            .filter(|discovered| discovered.namespaced && discovered.has(&["list", "delete"]))
            .map(|discovered| self.content(&key.name, discovered));
        let (mut contents, mut failures) = (Vec::new(), Vec::new());
        for content in join_all(listed).await {
            match content {
                Ok(content) => contents.extend(content),
                Err(failure) => failures.push(failure),
            }
        }
        Ok(Some(World { namespace, contents, failures, now }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan::plan(world)
    }
}
