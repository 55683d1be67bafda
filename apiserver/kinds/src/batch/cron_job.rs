//! batch/v1 CronJob.

use super::{job_spec, schedule};
use crate::gates;
use crate::pod_spec::default_template;
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use time::OffsetDateTime;

/// Longest name: the controller adds eleven characters to it.
const NAME_MAX: usize = 52;
/// Longest part between slashes of a time zone's name.
const ZONE_PART_MAX: usize = 14;

/// batch/v1 CronJob.
pub static CRON_JOB: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    type_name: "batch/v1.CronJob",
    list_kind: "CronJobList",
    subresources: &[
        Body { group: "batch", version: "v1", kind: "CronJob", type_name: "batch/v1.CronJob" }.status()
    ],
    rules: &CronJob,
    storage: Some(Storage::new("cronjobs")),
    ..STORED
};

const TEMPLATE: &[&str] = &["spec", "jobTemplate", "spec", "template"];

struct CronJob;

impl Rules for CronJob {
    fn default(&self, object: &mut Value) {
        if let Some(template) = object.path_mut(TEMPLATE) {
            default_template(template);
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_spec(object, None, errors);
        let name = Meta(object).name();
        if name.len() > NAME_MAX {
            let text = format!("must be no more than {NAME_MAX} characters");
            errors.invalid(&Path::new("metadata").child("name"), name, &text);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        validate_spec(new, Some(old), errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut texts = job_spec::warnings(new, old, &["spec", "jobTemplate", "spec"]);
        let schedule = new.path_str(&["spec", "schedule"]).unwrap_or_default();
        if old.is_some() && schedule.contains("TZ") {
            // The path is upstream's.
            texts.push(String::from(
                "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            ));
        }
        texts
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        gates::drop_fields(new, old, &[&["spec", "jobTemplate", "spec", "scheduling"]]);
        gates::drop_in_pod(new, old, &["spec", "jobTemplate", "spec", "template", "spec"]);
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Schedule", "When jobs are made."),
            Column::new("Timezone", "Where the schedule's clock is."),
            Column::new("Suspend", "Whether no jobs are made for now.").of_type("boolean"),
            Column::new("Active", "Jobs that run.").of_type("integer"),
            Column::new("Last Schedule", "Time since a job was last made."),
            table::AGE,
            table::CONTAINERS,
            table::IMAGES,
            Column::new("Selector", "Which pods belong to the jobs.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let containers = object.path_list(&["spec", "jobTemplate", "spec", "template", "spec", "containers"]);
        let [names, images] = table::containers_and_images(containers);
        let last = object.path(&["status", "lastScheduleTime"]).filter(|time| !time.is_empty());
        vec![
            table::name(object),
            table::text_or(object, &["spec", "schedule"], ""),
            table::text_or(object, &["spec", "timeZone"], "<none>"),
            match object.path_bool(&["spec", "suspend"]) {
                Some(true) => "True".into(),
                Some(false) => "False".into(),
                None => "<unset>".into(),
            },
            table::count(object, &["status", "active"]),
            last.map_or_else(|| String::from("<none>"), |last| table::since(Some(last), now)).into(),
            table::age(object, now),
            names,
            images,
            table::label_selector(object.path(&["spec", "jobTemplate", "spec", "selector"])).into(),
        ]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }

    fn fields(&self, _object: &Value) -> Vec<(&'static str, SmolStr)> {
        // Upstream accepts the label and has no value for it.
        vec![("status.successful", SmolStr::default())]
    }
}

fn validate_spec(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let spec = At::root(object).get("spec");
    let before = |field: &str| old.and_then(|old| old.path(&["spec", field]));
    let schedule = spec.get("schedule");
    if schedule.require(errors, "") {
        let tolerated = before("schedule").and_then(Value::as_str).is_some_and(|old| old.contains("TZ"));
        validate_schedule(&schedule, tolerated, spec.has("timeZone"), errors);
    }
    spec.get("startingDeadlineSeconds").non_negative(errors);
    let zone = spec.get("timeZone");
    if zone.is_set() && (old.is_none() || before("timeZone") != Some(zone.value)) {
        validate_zone(&zone, errors);
    }
    let policy = spec.get("concurrencyPolicy");
    if policy.require(errors, "") {
        policy.one_of(errors, &["Allow", "Forbid", "Replace"]);
    }
    let template = spec.dig(&["jobTemplate", "spec"]);
    job_spec::validate(&template, errors);
    let selector = template.get("selector");
    if selector.is_set() {
        selector.invalid(errors, "`selector` will be auto-generated");
    }
    let manual = template.get("manualSelector");
    if manual.flag() {
        errors.not_supported(&manual.path, true, &["nil", "false"]);
    }
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        spec.get(field).non_negative(errors);
    }
}

fn validate_schedule(field: &At<'_>, tolerated: bool, has_zone: bool, errors: &mut ErrorList) {
    if let Err(why) = schedule::check(field.text()) {
        field.invalid(errors, &why);
    }
    if !field.text().contains("TZ") {
        return;
    }
    if !tolerated {
        field.invalid(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if has_zone {
        field.invalid(errors, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

fn validate_zone(zone: &At<'_>, errors: &mut ErrorList) {
    let name = zone.text();
    if name.is_empty() {
        zone.invalid(errors, "timeZone must be nil or non-empty string");
        return;
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
    let sound = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.starts_with('-')
            && part.len() <= ZONE_PART_MAX
            && part.bytes().all(allowed)
    };
    if !name.split('/').all(sound) {
        zone.invalid(errors, &format!("unknown time zone {name}"));
        return;
    }
    if name.eq_ignore_ascii_case("Local") {
        let text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        zone.invalid(errors, text);
    } else if !schedule::is_known_zone(name) {
        zone.invalid(errors, &format!("unknown time zone {name}"));
    }
}
