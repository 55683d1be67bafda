//! Fills in the rules of aggregated cluster roles when the server starts, so that `admin`, `edit` and `view` hold
//! theirs before anything else runs. From then on the cluster role aggregation controller does it, as upstream.

use std::collections::BTreeMap;

use mainstay_apiserver_kinds::CLUSTER_ROLE;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use tracing::info;

use super::aggregation::{Candidate, aggregate, selectors};
use super::rule::PolicyRule;
use crate::registry::Registry;

/// Brings aggregated cluster roles up to date.
pub struct Aggregator {
    registry: Registry,
}

/// A role whose rules are not what they should be.
struct Outdated {
    name: SmolStr,
    rules: Vec<PolicyRule>,
}

impl Aggregator {
    /// An aggregator of the cluster's roles.
    pub fn new(registry: Registry) -> Self {
        Self { registry }
    }

    /// One pass over all aggregated roles; how many it wrote.
    ///
    /// # Errors
    /// The first write that fails.
    pub async fn reconcile(&self) -> Result<usize, Status> {
        let outdated = self.observe()?;
        let count = outdated.len();
        for outdated in outdated {
            let rules: Value = outdated.rules.iter().map(PolicyRule::to_value).collect();
            info!(role = %outdated.name, rules = outdated.rules.len(), "aggregated a cluster role");
            let change = |mut role: Value| {
                role.set_path(&["rules"], rules.clone());
                Ok(Some(role))
            };
            self.registry.update_with(&CLUSTER_ROLE, "", &outdated.name, change).await?;
        }
        Ok(count)
    }

    fn observe(&self) -> Result<Vec<Outdated>, Status> {
        let snapshot = self.registry.cache(&CLUSTER_ROLE)?.snapshot();
        let mut decoded = Vec::with_capacity(snapshot.len());
        for cached in snapshot.iter() {
            let role = self.registry.decode_served(&CLUSTER_ROLE, cached)?;
            let candidate = Candidate {
                name: cached.header.name.to_string(),
                labels: cached.header.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
                rules: PolicyRule::list_from(&role),
            };
            decoded.push((selectors(&role), candidate));
        }
        let wanted: Vec<_> = decoded
            .iter()
            .filter_map(|(selectors, role)| Some((selectors.clone()?, role.name.clone(), role.rules.clone())))
            .collect();
        let candidates: Vec<_> = decoded.into_iter().map(|(_, role)| role).collect();
        let outdated = |(selectors, name, held): (Vec<_>, String, Vec<PolicyRule>)| {
            let rules = aggregate(&name, &selectors, &candidates);
            (rules != held).then(|| Outdated { name: name.into(), rules })
        };
        Ok(wanted.into_iter().filter_map(outdated).collect())
    }
}
