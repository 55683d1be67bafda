//! Cells that many tables share: ages, lists of containers, selectors.

use mainstay_apiserver_machinery::kind::Column;
pub(crate) use mainstay_apiserver_machinery::pipeline::human_duration;
use mainstay_apiserver_machinery::pipeline::parse_timestamp;
use mainstay_apiserver_machinery::value::{Value, from_value};
use mainstay_proto_api::label::{LabelSelector, Selector};
use time::OffsetDateTime;

/// The column of [`age`].
pub(crate) const AGE: Column = Column::new("Age", "Time since the object was created.");
/// The columns of [`containers_and_images`], in wide output.
pub(crate) const CONTAINERS: Column = Column::new("Containers", "Names of the containers.").wide();
/// See [`CONTAINERS`].
pub(crate) const IMAGES: Column = Column::new("Images", "Images of the containers.").wide();

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

/// The boolean at a path as `true` or `false` of a text column; false when it is absent.
pub(crate) fn flag(object: &Value, path: &[&str]) -> Value {
    object.path_bool(path).unwrap_or_default().into()
}

/// How many items there are at a path.
pub(crate) fn count(object: &Value, path: &[&str]) -> Value {
    i64::try_from(object.path_list(path).len()).unwrap_or(i64::MAX).into()
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
    fn long_lists_end_with_a_count() {
        let items = |n: usize| (0..n).map(|i| i.to_string());
        assert_eq!(first_of(items(0), 3, "<unset>"), "<unset>");
        assert_eq!(first_of(items(3), 3, "<unset>"), "0,1,2");
        assert_eq!(first_of(items(5), 3, "<unset>"), "0,1,2 + 2 more...");
    }
}
