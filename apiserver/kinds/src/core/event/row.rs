//! The table of events, from their core/v1 form.

use crate::table;
use mainstay_apiserver_machinery::kind::Column;
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

pub(super) const COLUMNS: &[Column] = &[
    Column::new("Last Seen", "Time since the event last happened."),
    Column::new("Type", "Normal or Warning."),
    Column::new("Reason", "Why it happened, in one word."),
    Column::new("Object", "What it is about."),
    Column::new("Subobject", "Which part of the object it is about.").wide(),
    Column::new("Source", "Who saw it.").wide(),
    Column::new("Message", "What happened, for people."),
    Column::new("First Seen", "Time since the event first happened.").wide(),
    Column::new("Count", "How often it happened.").wide(),
    Column { priority: 1, ..Column::object_name() },
];

fn seen(time: Option<&Value>, now: OffsetDateTime) -> Option<String> {
    time.filter(|time| time.as_str().is_some_and(|text| !text.is_empty()))
        .map(|time| table::since(Some(time), now))
}

pub(super) fn row(event: &Value, now: OffsetDateTime) -> Vec<Value> {
    let first = seen(event.path(&["firstTimestamp"]), now)
        .unwrap_or_else(|| table::since(event.path(&["eventTime"]), now));
    let mut last = seen(event.path(&["lastTimestamp"]), now).unwrap_or_else(|| first.clone());
    let mut count = event.path_i64(&["count"]).unwrap_or_default();
    if event.path_map(&["series"]).is_some() {
        last = table::since(event.path(&["series", "lastObservedTime"]), now);
        count = event.path_i64(&["series", "count"]).unwrap_or_default();
    } else if count == 0 {
        count = 1;
    }
    let text = |path: &[&str]| event.path_str(path).unwrap_or_default();
    let mut object = text(&["involvedObject", "kind"]).to_lowercase();
    let name = text(&["involvedObject", "name"]);
    if !name.is_empty() {
        object = format!("{object}/{name}");
    }
    vec![
        last.into(),
        text(&["type"]).into(),
        text(&["reason"]).into(),
        object.into(),
        text(&["involvedObject", "fieldPath"]).into(),
        source(event).into(),
        text(&["message"]).trim().into(),
        first.into(),
        count.into(),
        table::name(event),
    ]
}

fn source(event: &Value) -> String {
    let first = |paths: [&[&str]; 2]| {
        let mut found =
            paths.into_iter().filter_map(|path| event.path_str(path)).filter(|text| !text.is_empty());
        found.next().unwrap_or_default()
    };
    let component = first([&["source", "component"], &["reportingComponent"]]);
    let instance = first([&["source", "host"], &["reportingInstance"]]);
    if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") }
}
