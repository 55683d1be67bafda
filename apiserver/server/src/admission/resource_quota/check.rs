//! Whether a write still fits a quota, and what the quota's usage is afterwards.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

use super::usage::{compute, concerns};
use crate::admission::pod_amounts::{Amounts, add, amounts};

/// What a quota's status says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) name: SmolStr,
    pub(super) hard: Amounts,
    pub(super) used: Amounts,
}

impl State {
    /// Reads it out of a quota.
    pub(super) fn of(name: &str, quota: &Value) -> Self {
        Self {
            name: name.into(),
            hard: amounts(quota, &["status", "hard"]),
            used: amounts(quota, &["status", "used"]),
        }
    }

    /// The names under which the quota bounds the kind.
    pub(super) fn bounds(&self, kind: &Kind) -> Vec<SmolStr> {
        self.hard.keys().filter(|name| concerns(kind, name)).cloned().collect()
    }

    /// The usage after `delta` more.
    ///
    /// # Errors
    /// Upstream's sentence when that is too much, or not known.
    pub(super) fn charged(&self, kind: &Kind, delta: &Amounts) -> Result<Amounts, String> {
        let names = self.bounds(kind);
        let unknown: Vec<&str> =
            names.iter().filter(|name| !self.used.contains_key(*name)).map(SmolStr::as_str).collect();
        if !unknown.is_empty() {
            return Err(format!("status unknown for quota: {}, resources: {}", self.name, unknown.join(",")));
        }
        let requested: Amounts = delta
            .iter()
            .filter(|(name, _)| self.hard.contains_key(*name))
            .map(|(n, a)| (n.clone(), *a))
            .collect();
        let mut used = self.used.clone();
        add(&mut used, &requested);
        let exceeded: BTreeSet<&SmolStr> = requested
            .keys()
            .filter(|name| match (used.get(*name), self.hard.get(*name)) {
                (Some(used), Some(hard)) => used > hard,
                _ => false,
            })
            .collect();
        if exceeded.is_empty() {
            return Ok(used);
        }
        let told = |of: &Amounts| {
            let parts = of.iter().filter(|(name, _)| exceeded.contains(name));
            parts.map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
        };
        Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            self.name,
            told(&requested),
            told(&self.used),
            told(&self.hard)
        ))
    }

    /// The usage after `delta` less; never below nothing.
    pub(super) fn refunded(&self, delta: &Amounts) -> Amounts {
        let mut used = self.used.clone();
        for (name, amount) in delta {
            if let Some(held) = used.get_mut(name) {
                let left = held.minus(*amount);
                *held = if left.is_negative() { held.minus(*held) } else { left };
            }
        }
        used
    }
}

/// What of `new` is more than `old`.
pub(super) fn growth(new: &Amounts, old: &Amounts) -> Amounts {
    let more = |(name, amount): (&SmolStr, &mainstay_proto_api::Quantity)| {
        let delta = old.get(name).map_or(*amount, |old| amount.minus(*old));
        (!delta.is_negative() && !delta.is_zero()).then(|| (name.clone(), delta))
    };
    new.iter().filter_map(more).collect()
}

/// Where a quota bounds processors or memory, every container must say what it takes.
///
/// # Errors
/// Upstream's sentence about the containers that do not.
pub(super) fn constraints(pod: &Value, bounds: &[SmolStr]) -> Result<(), String> {
    const STATED: &[&str] =
        &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    let required: Vec<&SmolStr> = bounds.iter().filter(|name| STATED.contains(&name.as_str())).collect();
    let whole = compute(
        &amounts(pod, &["spec", "resources", "requests"]),
        &amounts(pod, &["spec", "resources", "limits"]),
    );
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in ["containers", "initContainers"].iter().flat_map(|list| pod.path_list(&["spec", list])) {
        let stated = compute(
            &amounts(container, &["resources", "requests"]),
            &amounts(container, &["resources", "limits"]),
        );
        for name in required.iter().filter(|name| !stated.contains_key(**name) && !whole.contains_key(**name))
        {
            let container = container.path_str(&["name"]).unwrap_or_default();
            missing.entry(name).or_default().insert(container);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let told = missing.into_iter().map(|(name, containers)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    });
    Err(format!("must specify {}", told.collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use super::super::usage::usage;
    use super::*;
    use mainstay_apiserver_kinds::{POD, SERVICE};
    use mainstay_apiserver_machinery::value;

    fn amounts_of(pairs: &[(&str, &str)]) -> Amounts {
        pairs.iter().map(|(name, text)| (SmolStr::new(name), text.parse().unwrap())).collect()
    }

    fn pod() -> Value {
        value!({"spec": {"containers": [{"name": "a", "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi", "example.com/gpu": "1"}, "limits": {"cpu": "1"}}}]}})
    }

    #[test]
    fn a_pod_is_charged_under_every_name_a_quota_has_for_it() {
        let used: Vec<String> =
            usage(&POD, &pod()).iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(
            used,
            [
                "count/pods=1",
                "cpu=500m",
                "limits.cpu=1",
                "memory=1Gi",
                "pods=1",
                "requests.cpu=500m",
                "requests.example.com/gpu=1",
                "requests.memory=1Gi"
            ]
        );
        let mut over = pod();
        over.set_path(&["status", "phase"], "Succeeded");
        assert_eq!(usage(&POD, &over).len(), 1, "only its object is left");
        let service = value!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}});
        let used = usage(&SERVICE, &service);
        assert_eq!(used.get("services.nodeports").unwrap().value(), 2);
    }

    #[test]
    fn too_much_is_told_as_upstream_does() {
        let state = State {
            name: "q".into(),
            hard: amounts_of(&[("pods", "1"), ("requests.cpu", "1"), ("secrets", "3")]),
            used: amounts_of(&[("pods", "1"), ("requests.cpu", "800m"), ("secrets", "0")]),
        };
        assert_eq!(
            state.charged(&POD, &usage(&POD, &pod())).unwrap_err(),
            "exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=1,requests.cpu=800m, limited: pods=1,requests.cpu=1"
        );
        let unknown = State { used: Amounts::new(), ..state.clone() };
        assert_eq!(
            unknown.charged(&POD, &usage(&POD, &pod())).unwrap_err(),
            "status unknown for quota: q, resources: pods,requests.cpu"
        );
        let left = state.refunded(&usage(&POD, &pod()));
        assert_eq!(left, amounts_of(&[("pods", "0"), ("requests.cpu", "300m"), ("secrets", "0")]));
    }

    #[test]
    fn containers_must_say_what_the_quota_bounds() {
        let bounds = ["limits.memory".into(), "requests.cpu".into(), "pods".into()];
        assert_eq!(constraints(&pod(), &bounds).unwrap_err(), "must specify limits.memory for: a");
        assert!(constraints(&pod(), &["requests.memory".into()]).is_ok());
    }
}
