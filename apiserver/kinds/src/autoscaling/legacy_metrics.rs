//! Metrics as autoscaling/v1 keeps them in annotations: flat fields in place of `metric`, `target` and `current`.

use mainstay_apiserver_machinery::value::Value;

/// An amount of a metric: its flat name where it is wanted, where it is measured, and its name within `target` or `current`.
type Amount = (&'static str, &'static str, &'static str);

/// What one type of metric has.
struct Source {
    name: &'static str,
    /// What is measured: the flat name, and the path in v2.
    identity: &'static [(&'static str, &'static [&'static str])],
    amounts: &'static [Amount],
}

const VALUE: Amount = ("targetValue", "currentValue", "value");
const AVERAGE_VALUE: Amount = ("targetAverageValue", "currentAverageValue", "averageValue");
const AVERAGE_UTILIZATION: Amount =
    ("targetAverageUtilization", "currentAverageUtilization", "averageUtilization");

const SOURCES: &[Source] = &[
    Source {
        name: "object",
        identity: &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
        ],
        amounts: &[VALUE, ("averageValue", "averageValue", "averageValue")],
    },
    Source {
        name: "pods",
        identity: &[("metricName", &["metric", "name"]), ("selector", &["metric", "selector"])],
        amounts: &[AVERAGE_VALUE],
    },
    Source {
        name: "external",
        identity: &[("metricName", &["metric", "name"]), ("metricSelector", &["metric", "selector"])],
        amounts: &[VALUE, AVERAGE_VALUE],
    },
    Source { name: "resource", identity: &[], amounts: &[AVERAGE_UTILIZATION, AVERAGE_VALUE] },
    Source { name: "containerResource", identity: &[], amounts: &[AVERAGE_UTILIZATION, AVERAGE_VALUE] },
];

/// Whether a metric says what is wanted or what was measured.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// Of the spec.
    Wanted,
    /// Of the status.
    Measured,
}

impl Side {
    /// An amount's flat name, and its path in v2.
    const fn of(self, amount: &Amount) -> (&'static str, [&'static str; 2]) {
        match self {
            Self::Wanted => (amount.0, ["target", amount.2]),
            Self::Measured => (amount.1, ["current", amount.2]),
        }
    }
}

/// A metric of v1 as one of v2.
pub(super) fn to_v2(metric: &Value, side: Side) -> Value {
    let mut metric = metric.clone();
    for source in SOURCES {
        let Some(own) = metric.path_mut(&[source.name]) else { continue };
        for (flat, path) in source.identity {
            move_field(own, &[flat], path);
        }
        for amount in source.amounts {
            let (flat, path) = side.of(amount);
            move_field(own, &[flat], &path);
        }
        if let Some(target) = own.path(&["target"]).filter(|_| matches!(side, Side::Wanted)) {
            let kind = target_type(target);
            own.set_path(&["target", "type"], kind);
        }
    }
    metric
}

/// A metric of v2 as one of v1.
pub(super) fn to_v1(metric: &Value, side: Side) -> Value {
    let mut metric = metric.clone();
    for source in SOURCES {
        let Some(own) = metric.path_mut(&[source.name]) else { continue };
        own.remove_path(&["target", "type"]);
        for amount in source.amounts {
            let (flat, path) = side.of(amount);
            move_field(own, &path, &[flat]);
        }
        // The structs whose members have all moved out; before `describedObject` becomes `target`.
        drop_empty(own, &["target", "current"]);
        for (flat, path) in source.identity.iter().rev() {
            move_field(own, path, &[flat]);
        }
        drop_empty(own, &["metric"]);
    }
    metric
}

/// The target's type, which v1 leaves to what is set.
fn target_type(target: &Value) -> &'static str {
    if target.get("averageUtilization").is_some() {
        "Utilization"
    } else if target.get("averageValue").is_some() {
        "AverageValue"
    } else {
        "Value"
    }
}

fn move_field(object: &mut Value, from: &[&str], to: &[&str]) {
    if let Some(value) = object.remove_path(from) {
        object.set_path(to, value);
    }
}

fn drop_empty(object: &mut Value, parts: &[&str]) {
    for part in parts {
        if object.path(&[part]).is_some_and(Value::is_empty) {
            object.remove_path(&[part]);
        }
    }
}
