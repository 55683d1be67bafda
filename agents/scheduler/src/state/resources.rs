//! Amounts of resources, in the units that scheduling computes with.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use mainstay_proto_api::Quantity;

/// What a container without a request counts as when nodes are scored, so that such pods are spread too.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

/// Resource name to amount: CPU in thousandths, everything else in its own unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    amounts: BTreeMap<String, i64>,
}

impl Resources {
    pub(crate) const CPU: &'static str = "cpu";
    pub(crate) const MEMORY: &'static str = "memory";
    pub(crate) const PODS: &'static str = "pods";

    /// From a list of quantities. One that does not parse, which the API refuses, counts as nothing.
    pub(crate) fn of(list: Option<&BTreeMap<String, ApiQuantity>>) -> Self {
        let amounts = list
            .into_iter()
            .flatten()
            .map(|(name, quantity)| {
                let quantity = Quantity::from_str(&quantity.0).ok();
                let amount = quantity.map_or(0, |quantity| match name.as_str() {
                    Self::CPU => quantity.milli_value(),
                    _ => quantity.value(),
                });
                (name.clone(), amount)
            })
            .collect();
        Self { amounts }
    }

    /// The amount of one resource; zero when it is not listed.
    pub(crate) fn get(&self, name: &str) -> i64 {
        self.amounts.get(name).copied().unwrap_or(0)
    }

    /// All amounts in name order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.amounts.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.amounts {
            let sum = self.amounts.entry(name.clone()).or_insert(0);
            *sum = sum.saturating_add(*amount);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.amounts {
            let sum = self.amounts.entry(name.clone()).or_insert(0);
            *sum = sum.saturating_sub(*amount);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.amounts {
            let most = self.amounts.entry(name.clone()).or_insert(0);
            *most = (*most).max(*amount);
        }
    }

    fn default_to(&mut self, name: &str, amount: i64) {
        if self.get(name) == 0 {
            self.amounts.insert(name.to_owned(), amount);
        }
    }
}

/// What a pod asks for: the containers and sidecars together, or the most that starting it takes, plus overhead;
/// pod-level requests replace the containers' sums. With `defaults`, containers that ask for nothing count a little.
pub(crate) fn requests_of(pod: &Pod, defaults: bool) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let request = |container: &Container| {
        let mut request =
            Resources::of(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
        if defaults {
            request.default_to(Resources::CPU, DEFAULT_MILLI_CPU);
            request.default_to(Resources::MEMORY, DEFAULT_MEMORY_BYTES);
        }
        request
    };
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut needed = request(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&needed);
            starting.raise_to(&sidecars);
        } else {
            needed.add(&sidecars);
            starting.raise_to(&needed);
        }
    }
    let mut total = sidecars;
    for container in &spec.containers {
        total.add(&request(container));
    }
    total.raise_to(&starting);
    if let Some(pod_level) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        for (name, amount) in Resources::of(Some(pod_level)).amounts {
            total.amounts.insert(name, amount);
        }
    }
    total.add(&Resources::of(spec.overhead.as_ref()));
    total
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::{Resources, requests_of};

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn an_init_container_counts_only_where_it_needs_more_than_the_rest() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = pod(json!({
            "initContainers": [
                {"name": "side", "restartPolicy": "Always", "resources": asks("100m")},
                {"name": "init", "resources": asks("1")},
            ],
            "containers": [{"name": "a", "resources": asks("300m")}, {"name": "b", "resources": asks("300m")}],
            "overhead": {"cpu": "10m"},
        }));
        assert_eq!(requests_of(&pod, false).get(Resources::CPU), 1110);
    }

    #[test]
    fn containers_without_requests_count_a_little_in_scores_only() {
        let pod = pod(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
        assert_eq!(requests_of(&pod, false).get(Resources::CPU), 0);
        assert_eq!(requests_of(&pod, true).get(Resources::CPU), 200);
    }
}
