//! What an autoscaler measures, as one cell: `cpu: 20%/80%, 3/10 (avg)`.

use mainstay_apiserver_machinery::value::Value;

/// Metrics that the cell shows.
const SHOWN_MAX: usize = 2;
const UNKNOWN: &str = "<unknown>";

pub(super) fn text(object: &Value) -> String {
    let wanted = object.path_list(&["spec", "metrics"]);
    let measured = object.path_list(&["status", "currentMetrics"]);
    if wanted.is_empty() {
        return String::from("<none>");
    }
    let all = wanted.iter().enumerate().filter_map(|(i, metric)| one(metric, measured.get(i)));
    let shown: Vec<String> = all.take(SHOWN_MAX).collect();
    let shown = shown.join(", ");
    if wanted.len() > SHOWN_MAX {
        return format!("{shown} + {} more...", wanted.len() - SHOWN_MAX);
    }
    shown
}

fn one(metric: &Value, measured: Option<&Value>) -> Option<String> {
    let (source, named) = match metric.path_str(&["type"])? {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return Some(String::from("<unknown type>")),
    };
    let target = metric.path(&[source, "target"])?;
    let now = measured.and_then(|measured| measured.path(&[source, "current"]));
    let prefix = if named {
        format!("{}: ", metric.path_str(&[source, "name"]).unwrap_or_default())
    } else {
        String::new()
    };
    let amount = |field: &str| now.and_then(|now| now.path_str(&[field])).unwrap_or(UNKNOWN);
    if let Some(wanted) = target.path_str(&["averageValue"]) {
        let suffix = if matches!(source, "external" | "object") { " (avg)" } else { "" };
        return Some(format!("{prefix}{}/{wanted}{suffix}", amount("averageValue")));
    }
    if named {
        let percent = |at: Option<&Value>| at.and_then(|at| at.path_i64(&["averageUtilization"]));
        let wanted =
            percent(Some(target)).map_or_else(|| String::from("<auto>"), |percent| format!("{percent}%"));
        let now = percent(now).map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{percent}%"));
        return Some(format!("{prefix}{now}/{wanted}"));
    }
    Some(format!("{}/{}", amount("value"), target.path_str(&["value"]).unwrap_or("0")))
}
