//! What a pod asks for and may take at most, as admission counts it: containers together, or the largest init container
//! with the sidecars that run beside it.

use std::collections::BTreeMap;

use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Quantity;
use smol_str::SmolStr;

/// Amounts by resource name.
pub type Amounts = BTreeMap<SmolStr, Quantity>;

/// Whether the requests or the limits of containers are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `requests`.
    Requests,
    /// `limits`.
    Limits,
}

impl Side {
    /// The field's name.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

/// The amounts at `path` of an object; text that is no amount is left out (validation has refused it).
pub fn amounts(object: &Value, path: &[&str]) -> Amounts {
    let map = object.path_map(path).into_iter().flatten();
    map.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.parse().ok()?))).collect()
}

/// Adds amounts.
pub fn add(into: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let held = into.entry(name.clone()).or_default();
        *held = held.plus(*amount);
    }
}

/// Raises amounts to those of `other`.
pub fn raise(into: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let held = into.entry(name.clone()).or_insert(*amount);
        *held = (*held).max(*amount);
    }
}

/// What the containers of a pod's spec come to.
pub fn of_containers(spec: &Value, side: Side) -> Amounts {
    let of = |container: &Value| amounts(container, &["resources", side.field()]);
    let mut total = Amounts::new();
    for container in spec.path_list(&["containers"]) {
        add(&mut total, &of(container));
    }
    let (mut sidecars, mut largest) = (Amounts::new(), Amounts::new());
    for container in spec.path_list(&["initContainers"]) {
        let own = of(container);
        if container.path_str(&["restartPolicy"]) == Some("Always") {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut largest, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &own);
            raise(&mut largest, &beside);
        }
    }
    raise(&mut total, &largest);
    total
}

/// What a pod comes to: its own amounts where it states them, else those of its containers; with the overhead of its
/// runtime class.
pub fn of_pod(spec: &Value, side: Side) -> Amounts {
    let mut total = of_containers(spec, side);
    for (name, amount) in amounts(spec, &["resources", side.field()]) {
        total.insert(name, amount);
    }
    let overhead = amounts(spec, &["overhead"]);
    match side {
        Side::Requests => add(&mut total, &overhead),
        // A limit that is not set does not become one by the overhead.
        Side::Limits => {
            for (name, amount) in overhead {
                if let Some(held) = total.get_mut(&name).filter(|held| !held.is_zero()) {
                    *held = held.plus(amount);
                }
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn init_containers_count_when_they_are_larger() {
        let cpu = |amount: &str| value!({"requests": {"cpu": amount}});
        let spec = value!({
            "containers": [{"resources": cpu("100m")}, {"resources": cpu("200m")}],
            "initContainers": [
                {"resources": cpu("50m"), "restartPolicy": "Always"},
                {"resources": cpu("1")},
                {"resources": cpu("10m")},
            ],
            "overhead": {"cpu": "5m"},
        });
        let total = |amounts: Amounts| amounts.get("cpu").map(ToString::to_string);
        assert_eq!(total(of_containers(&spec, Side::Requests)), Some("1050m".to_owned()));
        assert_eq!(total(of_pod(&spec, Side::Requests)), Some("1055m".to_owned()));
        assert_eq!(total(of_pod(&spec, Side::Limits)), None);
    }
}
