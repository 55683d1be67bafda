//! batch/v1 Job.

use super::{job_spec, job_status, template_update};
use crate::apps::template::{pairs, parse};
use crate::gates;
use crate::pod_spec::default_template;
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{CollectionPolicy, Column, Kind, Rules, Storage};
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
        validate_job(object, true, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let labels = old.path(TEMPLATE_LABELS);
        // Jobs of before there were labels with a domain may stay without.
        let [_, name] = NAME_LABELS;
        let [_, uid] = UID_LABELS;
        let prefixed = labels.is_some_and(|labels| labels.get(name).is_some() && labels.get(uid).is_some());
        validate_job(new, prefixed, errors);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
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
        template_update::validate(new, old, errors);
        for field in IMMUTABLE {
            spec.get(field).unchanged(errors, &before.get(field));
        }
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        job_status::validate(new, old, errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        job_spec::warnings(new, old, &["spec"])
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        // Of the feature `WorkloadWithJob`.
        gates::drop_fields(new, old, &[&["spec", "scheduling"]]);
        gates::drop_in_pod(new, old, &["spec", "template", "spec"]);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn collection_policy(&self) -> CollectionPolicy {
        CollectionPolicy::Orphan
    }

    fn deletion_warning(&self) -> Option<&'static str> {
        Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
             them or set propagationPolicy=Orphan to suppress this warning",
        )
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

/// Checks a job by itself; `prefixed` says whether its template must have the labels with a domain.
fn validate_job(object: &Value, prefixed: bool, errors: &mut ErrorList) {
    validate_generated_selector(object, prefixed, errors);
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

fn validate_generated_selector(object: &Value, prefixed: bool, errors: &mut ErrorList) {
    let spec = At::root(object).get("spec");
    let selector = spec.get("selector");
    if spec.get("manualSelector").flag() || !selector.is_set() {
        return;
    }
    let meta = Meta(object);
    let at = spec.dig(&["template", "metadata"]);
    let labels = at.get("labels");
    let mut expected = std::collections::BTreeMap::new();
    let all = [
        (UID_LABELS[0], meta.uid()),
        (NAME_LABELS[0], meta.name()),
        (UID_LABELS[1], meta.uid()),
        (NAME_LABELS[1], meta.name()),
    ];
    for (key, value) in all.into_iter().take(if prefixed { 4 } else { 2 }) {
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
