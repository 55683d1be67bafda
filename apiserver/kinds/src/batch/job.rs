//! batch/v1 Job.

use super::{job_spec, job_status};
use crate::apps::template::{pairs, parse};
use crate::pod_spec::{default_template, template_warnings};
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{CollectionPolicy, Column, Kind, Rules, Storage, restore};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::pipeline::parse_timestamp;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, names, validate_label_selector};
use mainstay_apiserver_machinery::value::{Map, Value};
use smol_str::{SmolStr, format_smolstr};
use time::OffsetDateTime;

/// batch/v1 Job.
pub static JOB: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    type_name: "batch/v1.Job",
    list_kind: "JobList",
    subresources: &[Body { group: "batch", version: "v1", kind: "Job", type_name: "batch/v1.Job" }.status()],
    rules: &Job,
    storage: Some(Storage::new("jobs")),
    ..STORED
};

const TEMPLATE: &[&str] = &["spec", "template"];
const TEMPLATE_LABELS: &[&str] = &["spec", "template", "metadata", "labels"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
/// Fields of the spec that an update may not change.
const IMMUTABLE: &[&str] =
    &["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];

struct Job;

impl Rules for Job {
    fn default(&self, object: &mut Value) {
        default_counts(object.make_map().get_or_insert_map("spec"));
        let labels = object.path(TEMPLATE_LABELS).cloned();
        if let Some(labels) = labels.filter(|labels| !labels.is_empty())
            && object.path(&["metadata", "labels"]).is_none_or(Value::is_empty)
        {
            object.set_path(&["metadata", "labels"], labels);
        }
        if let Some(template) = object.path_mut(TEMPLATE) {
            default_template(template);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object.make_map().remove("status");
        if object.path_bool(&["spec", "manualSelector"]) != Some(true) {
            generate_selector(object);
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_generated_selector(object, errors);
        let spec = At::root(object).get("spec");
        validate_spec(&spec, errors);
        let completions = spec.get("completions").int().unwrap_or_default();
        if job_spec::is_indexed(&spec) && completions > 0 {
            let name = Meta(object).name();
            let longest = format!("{name}-{}", completions - 1);
            if !names::dns_label(&longest).is_empty() {
                let text = format!("will not able to create pod with invalid DNS label: {longest}");
                errors.invalid(&Path::new("metadata").child("name"), name, &text);
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        validate_spec(&spec, errors);
        let (completions, was) = (spec.get("completions"), before.get("completions"));
        if !job_spec::is_indexed(&spec) {
            completions.unchanged(errors, &was);
        } else if completions.is_set()
            && completions.value != was.value
            && completions.value != spec.get("parallelism").value
        {
            completions.invalid(errors, "can only be modified in tandem with spec.parallelism");
        }
        spec.get("selector").unchanged(errors, &before.get("selector"));
        let template = spec.get("template");
        if *template.value != comparable_template(new, old) {
            template.invalid(errors, "field is immutable");
        }
        for field in IMMUTABLE {
            spec.get(field).unchanged(errors, &before.get(field));
        }
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        job_status::validate(new, old, errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        template_warnings(new, old, TEMPLATE)
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn collection_policy(&self) -> CollectionPolicy {
        CollectionPolicy::Orphan
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Status", "What the job is doing."),
            Column::new("Completions", "Pods that succeeded of pods that shall."),
            Column::new("Duration", "How long the job runs or ran."),
            table::AGE,
            table::CONTAINERS,
            table::IMAGES,
            Column::new("Selector", "Which pods belong to the job.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let containers = object.path_list(&["spec", "template", "spec", "containers"]);
        let [names, images] = table::containers_and_images(containers);
        vec![
            table::name(object),
            state(object).into(),
            completions(object).into(),
            duration(object, now).into(),
            table::age(object, now),
            names,
            images,
            table::label_selector(object.path(&["spec", "selector"])).into(),
        ]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        let succeeded = object.path_i64(&["status", "succeeded"]).unwrap_or_default();
        vec![("status.successful", format_smolstr!("{succeeded}"))]
    }
}

fn default_counts(spec: &mut Map) {
    if spec.get("parallelism").is_none() {
        if spec.get("completions").is_none() {
            spec.insert("completions", 1);
        }
        spec.insert("parallelism", 1);
    }
    let limit = if spec.contains_key("backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    let defaults: [(&str, Value); 5] = [
        ("backoffLimit", limit.into()),
        ("completionMode", "NonIndexed".into()),
        ("suspend", false.into()),
        ("podReplacementPolicy", replacement.into()),
        ("manualSelector", false.into()),
    ];
    for (field, value) in defaults {
        spec.get_or_insert(field, || value);
    }
}

/// Labels the pods of the job and selects them by its uid.
fn generate_selector(object: &mut Value) {
    let (name, uid) = (Meta(object).name().to_owned(), Meta(object).uid().to_owned());
    let spec = object.make_map().get_or_insert_map("spec");
    let labels = spec.get_or_insert_map("template").get_or_insert_map("metadata").get_or_insert_map("labels");
    for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
        for key in keys {
            labels.get_or_insert(key, || value.as_str().into());
        }
    }
    let selected = spec.get_or_insert_map("selector").get_or_insert_map("matchLabels");
    let [_, key] = UID_LABELS;
    selected.get_or_insert(key, || uid.as_str().into());
}

fn validate_generated_selector(object: &Value, errors: &mut ErrorList) {
    let spec = At::root(object).get("spec");
    let selector = spec.get("selector");
    if spec.get("manualSelector").flag() || !selector.is_set() {
        return;
    }
    let meta = Meta(object);
    let at = spec.dig(&["template", "metadata"]);
    let labels = at.get("labels");
    let mut expected = std::collections::BTreeMap::new();
    for (key, value) in [
        (UID_LABELS[0], meta.uid()),
        (NAME_LABELS[0], meta.name()),
        (UID_LABELS[1], meta.uid()),
        (NAME_LABELS[1], meta.name()),
    ] {
        expected.insert(key, value);
        let path = labels.path.key(key);
        match pairs(labels.value).get(key) {
            None => errors.required(&path, &format!("must be '{value}'")),
            Some(actual) if *actual != value => {
                errors.invalid(&path, labels.value.clone(), &format!("must be '{value}'"));
            }
            Some(_) => {}
        }
    }
    if parse(selector.value).is_some_and(|parsed| !parsed.matches(&expected)) {
        selector.invalid(errors, "`selector` not auto-generated");
    }
}

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    job_spec::validate(spec, errors);
    let selector = spec.get("selector");
    if selector.is_set() {
        validate_label_selector(selector.value, true, &selector.path, errors);
    } else {
        errors.required(&selector.path, "");
    }
    let labels = spec.dig(&["template", "metadata", "labels"]);
    if parse(selector.value).is_some_and(|parsed| !selector.is_set() || !parsed.matches(&pairs(labels.value)))
    {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
}

/// The old template, with what may still change while no pod was made taken from the new one.
fn comparable_template(new: &Value, old: &Value) -> Value {
    let mut template = old.path(TEMPLATE).cloned().unwrap_or(Value::Null);
    let waiting = old.path_bool(&["spec", "suspend"]) == Some(true)
        && old.path(&["status", "startTime"]).is_none_or(Value::is_null);
    let Some(wanted) = new.path(TEMPLATE).filter(|_| waiting && template.as_map().is_some()) else {
        return template;
    };
    for (part, fields) in [
        ("spec", &["nodeSelector", "tolerations", "schedulingGates"][..]),
        ("metadata", &["annotations", "labels"][..]),
    ] {
        let mut own = template.get(part).cloned().unwrap_or_else(Value::map);
        let other = wanted.get(part).cloned().unwrap_or_else(Value::map);
        for field in fields {
            restore(&mut own, &other, field);
        }
        if part == "spec" {
            take_node_affinity(&mut own, &other);
        }
        template.make_map().insert(part, own);
    }
    template
}

fn take_node_affinity(spec: &mut Value, wanted: &Value) {
    const PATH: &[&str] = &["affinity", "nodeAffinity"];
    match wanted.path(PATH) {
        Some(affinity) => spec.set_path(PATH, affinity.clone()),
        None => drop(spec.remove_path(PATH)),
    }
    if wanted.get("affinity").is_none() && spec.get("affinity").is_some_and(Value::is_empty) {
        spec.remove_path(&["affinity"]);
    }
}

fn state(object: &Value) -> &'static str {
    let has = |kind: &str| job_status::has_condition(object, kind);
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if Meta(object).is_deleting() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(object: &Value) -> String {
    let succeeded = object.path_i64(&["status", "succeeded"]).unwrap_or_default();
    if let Some(wanted) = object.path_i64(&["spec", "completions"]) {
        return format!("{succeeded}/{wanted}");
    }
    match object.path_i64(&["spec", "parallelism"]) {
        Some(parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    }
}

fn duration(object: &Value, now: OffsetDateTime) -> String {
    let time = |field: &str| object.path_str(&["status", field]).and_then(parse_timestamp);
    time("startTime").map_or_else(String::new, |start| {
        table::human_duration(time("completionTime").unwrap_or(now) - start)
    })
}
