//! Metrics as autoscaling/v1 keeps them in annotations: flat fields in place of `metric`, `target` and `current`.

use mainstay_apiserver_machinery::conversion::{Conversion, Step};
use mainstay_apiserver_machinery::value::Value;

const fn moved(served: &'static [&'static str], hub: &'static [&'static str]) -> Step {
    Step::Move { served, hub }
}

/// What is wanted, by type.
const SPECS: &[(&str, Conversion)] = &[
    (
        "object",
        Conversion {
            steps: &[
                moved(&["target"], &["describedObject"]),
                moved(&["metricName"], &["metric", "name"]),
                moved(&["selector"], &["metric", "selector"]),
                moved(&["targetValue"], &["target", "value"]),
                moved(&["averageValue"], &["target", "averageValue"]),
            ],
        },
    ),
    (
        "pods",
        Conversion {
            steps: &[
                moved(&["metricName"], &["metric", "name"]),
                moved(&["selector"], &["metric", "selector"]),
                moved(&["targetAverageValue"], &["target", "averageValue"]),
            ],
        },
    ),
    (
        "external",
        Conversion {
            steps: &[
                moved(&["metricName"], &["metric", "name"]),
                moved(&["metricSelector"], &["metric", "selector"]),
                moved(&["targetValue"], &["target", "value"]),
                moved(&["targetAverageValue"], &["target", "averageValue"]),
            ],
        },
    ),
    ("resource", RESOURCE_SPEC),
    ("containerResource", RESOURCE_SPEC),
];
const RESOURCE_SPEC: Conversion = Conversion {
    steps: &[
        moved(&["targetAverageUtilization"], &["target", "averageUtilization"]),
        moved(&["targetAverageValue"], &["target", "averageValue"]),
    ],
};

/// What is measured, by type.
const STATUSES: &[(&str, Conversion)] = &[
    (
        "object",
        Conversion {
            steps: &[
                moved(&["target"], &["describedObject"]),
                moved(&["metricName"], &["metric", "name"]),
                moved(&["selector"], &["metric", "selector"]),
                moved(&["currentValue"], &["current", "value"]),
                moved(&["averageValue"], &["current", "averageValue"]),
            ],
        },
    ),
    (
        "pods",
        Conversion {
            steps: &[
                moved(&["metricName"], &["metric", "name"]),
                moved(&["selector"], &["metric", "selector"]),
                moved(&["currentAverageValue"], &["current", "averageValue"]),
            ],
        },
    ),
    (
        "external",
        Conversion {
            steps: &[
                moved(&["metricName"], &["metric", "name"]),
                moved(&["metricSelector"], &["metric", "selector"]),
                moved(&["currentValue"], &["current", "value"]),
                moved(&["currentAverageValue"], &["current", "averageValue"]),
            ],
        },
    ),
    ("resource", RESOURCE_STATUS),
    ("containerResource", RESOURCE_STATUS),
];
const RESOURCE_STATUS: Conversion = Conversion {
    steps: &[
        moved(&["currentAverageUtilization"], &["current", "averageUtilization"]),
        moved(&["currentAverageValue"], &["current", "averageValue"]),
    ],
};

fn convert(metric: &Value, table: &[(&str, Conversion)], change: fn(&Conversion, &mut Value)) -> Value {
    let mut metric = metric.clone();
    for (source, conversion) in table {
        if let Some(source) = metric.path_mut(&[source]) {
            change(conversion, source);
        }
    }
    metric
}

/// The target's type, which v1 leaves to what is set.
fn add_target_type(metric: &mut Value) {
    for (source, _) in SPECS {
        let Some(target) = metric.path(&[source, "target"]) else { continue };
        let kind = if target.get("averageUtilization").is_some() {
            "Utilization"
        } else if target.get("averageValue").is_some() {
            "AverageValue"
        } else {
            "Value"
        };
        metric.set_path(&[source, "target", "type"], kind);
    }
}

/// A wanted metric of v1 as one of v2.
pub(super) fn spec_to_v2(metric: &Value) -> Value {
    let mut metric = convert(metric, SPECS, Conversion::to_hub);
    add_target_type(&mut metric);
    metric
}

/// A wanted metric of v2 as one of v1.
pub(super) fn spec_to_v1(metric: &Value) -> Value {
    let mut metric = metric.clone();
    for (source, _) in SPECS {
        metric.remove_path(&[source, "target", "type"]);
    }
    let mut metric = convert(&metric, SPECS, Conversion::from_hub);
    drop_empty(&mut metric);
    metric
}

/// A measured metric of v1 as one of v2.
pub(super) fn status_to_v2(metric: &Value) -> Value {
    convert(metric, STATUSES, Conversion::to_hub)
}

/// A measured metric of v2 as one of v1.
pub(super) fn status_to_v1(metric: &Value) -> Value {
    let mut metric = convert(metric, STATUSES, Conversion::from_hub);
    drop_empty(&mut metric);
    metric
}

/// Drops the structs whose members have all moved out.
fn drop_empty(metric: &mut Value) {
    for (source, _) in SPECS {
        for part in ["target", "metric", "current"] {
            if metric.path(&[source, part]).is_some_and(Value::is_empty) {
                metric.remove_path(&[source, part]);
            }
        }
    }
}
