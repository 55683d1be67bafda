//! Observes a budget, the pods that it selects, and what their controllers want.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use mainstay_agents_kit::informer::{Informers, Reader};
use mainstay_agents_kit::owner::controller_of;
use mainstay_agents_kit::reconcile::{Next, ObserveError, Reconciler, Watch};
use mainstay_agents_kit::step::Step;
use mainstay_agents_kit::{ObjectKey, selector_of};

use super::plan;
use super::scale::ScaleFinder;
use super::world::{Scales, World};

/// Keeps the status of disruption budgets.
pub(crate) struct DisruptionController {
    budgets: Reader<PodDisruptionBudget>,
    pods: Reader<Pod>,
    scales: ScaleFinder,
}

impl DisruptionController {
    pub(crate) fn new(informers: &Informers) -> Self {
        Self { budgets: informers.reader(), pods: informers.reader(), scales: ScaleFinder::new(informers) }
    }

    async fn scales(
        &self,
        namespace: &str,
        pods: &[Arc<Pod>],
    ) -> Result<Result<Scales, String>, ObserveError> {
        let mut scales = Scales::default();
        let mut seen = std::collections::BTreeSet::new();
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                scales.has_unmanaged = true;
                continue;
            };
            if !seen.insert(owner.uid.clone()) {
                continue;
            }
            let Some((uid, replicas)) = self.scales.find(owner, namespace).await? else {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                return Ok(Err(format!("found no controllers for pod {name:?}")));
            };
            scales.replicas.insert(uid, replicas);
        }
        Ok(Ok(scales))
    }
}

/// Whether the budget selects the pod. No selector selects nothing, an empty one everything.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector_of(selector).is_ok_and(|selector| selector.matches(&pod.metadata.labels))
}

impl Reconciler for DisruptionController {
    type World = World;

    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        let budgets = self.budgets.clone();
        let covering = move |pod: &Pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let all = budgets.list_in(namespace);
            let covering = all.iter().filter(|budget| selects(budget, pod));
            covering.map(|budget| ObjectKey::of(budget.as_ref())).collect()
        };
        vec![Watch::of(&self.budgets), Watch::map(&self.pods, covering)]
    }

    async fn observe(&self, key: &ObjectKey, now: Timestamp) -> Result<Option<World>, ObserveError> {
        let Some(budget) = self.budgets.get(key) else { return Ok(None) };
        let mut pods = self.pods.list_in(&key.namespace);
        pods.retain(|pod| selects(&budget, pod));
        let scales = if plan::counts_in_parts(&budget) {
            self.scales(&key.namespace, &pods).await?
        } else {
            Ok(Scales::default())
        };
        Ok(Some(World { budget, pods, scales, now }))
    }

    fn plan(&self, world: &World) -> (Vec<Step>, Next) {
        plan::plan(world)
    }
}
