//! Cells that many tables share: ages, lists of containers, selectors.

use mainstay_apiserver_machinery::pipeline::parse_timestamp;
use mainstay_apiserver_machinery::value::{Value, from_value};
use mainstay_proto_api::label::{LabelSelector, Selector};
use time::{Duration, OffsetDateTime};

/// A duration as upstream shows it to people: two units at most, fewer the longer it is.
pub(crate) fn human_duration(duration: Duration) -> String {
    let seconds = duration.whole_seconds();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit}{small}{small_unit}")
        }
    };
    match seconds {
        ..=-2 => String::from("<invalid>"),
        -1 => String::from("0s"),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => two(hours / 24, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// How long ago the time in `value` was; `<unknown>` when there is none.
pub(crate) fn since(value: Option<&Value>, now: OffsetDateTime) -> String {
    match value.and_then(Value::as_str).and_then(parse_timestamp) {
        Some(time) => human_duration(now - time),
        None => String::from("<unknown>"),
    }
}

/// The age of an object.
pub(crate) fn age(object: &Value, now: OffsetDateTime) -> Value {
    since(object.path(&["metadata", "creationTimestamp"]), now).into()
}

/// The name of an object.
pub(crate) fn name(object: &Value) -> Value {
    object.path_str(&["metadata", "name"]).unwrap_or_default().into()
}

/// The string at a path, or `absent` where it is missing or empty.
pub(crate) fn text_or(object: &Value, path: &[&str], absent: &str) -> Value {
    object.path_str(path).filter(|text| !text.is_empty()).unwrap_or(absent).into()
}

/// The number at a path, or 0.
pub(crate) fn number(object: &Value, path: &[&str]) -> Value {
    object.path_i64(path).unwrap_or_default().into()
}

/// Names and images of the containers of a pod template, each joined by commas.
pub(crate) fn containers_and_images(containers: &[Value]) -> [Value; 2] {
    let join = |field: &str| {
        let all: Vec<&str> = containers.iter().filter_map(|container| container.path_str(&[field])).collect();
        Value::from(all.join(","))
    };
    [join("name"), join("image")]
}

/// A LabelSelector as text; `<none>` when it selects by nothing, `<error>` when it is malformed.
pub(crate) fn label_selector(selector: Option<&Value>) -> String {
    let parsed: Option<LabelSelector> = match selector {
        None | Some(Value::Null) => None,
        Some(value) => match from_value(value) {
            Ok(parsed) => Some(parsed),
            Err(_) => return String::from("<error>"),
        },
    };
    match Selector::from_spec(parsed.as_ref()) {
        Ok(selector) if selector.requirements().is_empty() => String::from("<none>"),
        Ok(selector) => selector.to_string(),
        Err(_) => String::from("<error>"),
    }
}

/// A plain map of labels as text; `<none>` when it is empty.
pub(crate) fn labels(labels: Option<&Value>) -> String {
    let pairs: Vec<String> = labels
        .and_then(Value::as_map)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { String::from("<none>") } else { pairs.join(",") }
}

/// At most `max` of the items, joined by commas, then how many more there are.
pub(crate) fn first_of(items: impl Iterator<Item = String>, max: usize, absent: &str) -> String {
    let all: Vec<String> = items.collect();
    let shown = all.get(..max.min(all.len())).unwrap_or_default().join(",");
    if all.len() > max {
        format!("{shown} + {} more...", all.len() - max)
    } else if shown.is_empty() {
        absent.to_owned()
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_two_units_at_most() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (7 * 3600 + 60, "7h1m"),
            (8 * 3600, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (49 * 3600, "2d1h"),
            (8 * 86400, "8d"),
            (2 * 365 * 86400 - 1, "729d"),
            (2 * 365 * 86400, "2y"),
            (2 * 365 * 86400 + 86400, "2y1d"),
            (9 * 365 * 86400, "9y"),
        ] {
            assert_eq!(human_duration(Duration::seconds(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn long_lists_end_with_a_count() {
        let items = |n: usize| (0..n).map(|i| i.to_string());
        assert_eq!(first_of(items(0), 3, "<unset>"), "<unset>");
        assert_eq!(first_of(items(3), 3, "<unset>"), "0,1,2");
        assert_eq!(first_of(items(5), 3, "<unset>"), "0,1,2 + 2 more...");
    }
}
