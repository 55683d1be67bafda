//! What an update of a job's status may say. Most rules only hold back what the update itself made wrong, so that
//! an older wrong status can still be written.

use super::{indexes, job_spec};
use mainstay_apiserver_machinery::pipeline::parse_timestamp;
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;

/// Whether a condition of this type is true.
pub(super) fn has_condition(object: &Value, kind: &str) -> bool {
    object
        .path_list(&["status", "conditions"])
        .iter()
        .any(|one| one.path_str(&["type"]) == Some(kind) && one.path_str(&["status"]) == Some("True"))
}

/// One status with what its rules ask for.
struct View<'a> {
    object: &'a Value,
    spec: At<'a>,
    status: At<'a>,
}

impl<'a> View<'a> {
    fn new(object: &'a Value) -> Self {
        let root = At::root(object);
        Self { object, spec: root.get("spec"), status: root.get("status") }
    }

    fn is(&self, kind: &str) -> bool {
        has_condition(self.object, kind)
    }

    fn is_finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn number(&self, field: &str) -> i64 {
        self.status.get(field).int().unwrap_or_default()
    }
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (job, was) = (View::new(new), View::new(old));
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        job.status.get(field).non_negative(errors);
    }
    validate_uncounted(&job.status.get("uncountedTerminatedPods"), errors);
    validate_conditions(&job, &was, errors);
    validate_times(&job, &was, errors);
    validate_finished(&job, &was, errors);
    validate_indexes(&job, &was, errors);
    validate_progress(&job, &was, errors);
}

fn validate_uncounted(uncounted: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for uid in ["succeeded", "failed"].iter().flat_map(|list| uncounted.get(list).items()) {
        if uid.text().is_empty() {
            errors.invalid(&uid.path, "", "must not be empty");
        } else if !seen.insert(uid.text()) {
            errors.duplicate(&uid.path, uid.text());
        }
    }
}

fn validate_conditions(job: &View<'_>, was: &View<'_>, errors: &mut ErrorList) {
    let path = job.status.path.child("conditions");
    let changed = |kind: &str| job.is(kind) != was.is(kind);
    let mut refuse = |wrong: bool, text: &str| {
        if wrong {
            errors.invalid_unshown(&path, text);
        }
    };
    let (complete, failed, target, met) =
        (job.is("Complete"), job.is("Failed"), job.is("FailureTarget"), job.is("SuccessCriteriaMet"));
    refuse(
        complete && failed && (changed("Complete") || changed("Failed")),
        "cannot set Complete=True and Failed=true conditions",
    );
    refuse(
        complete && target && (changed("Complete") || changed("FailureTarget")),
        "cannot set Complete=True and FailureTarget=true conditions",
    );
    refuse(
        failed && !target && changed("Failed"),
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    refuse(
        complete && !met && (changed("Complete") || changed("SuccessCriteriaMet")),
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
    refuse(met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    refuse(met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    refuse(
        job.spec.has("successPolicy") && !met && complete,
        "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
    );
    for kind in ["Failed", "Complete", "FailureTarget"] {
        refuse(was.is(kind) && !job.is(kind), &format!("cannot disable the terminal {kind}=True condition"));
    }
    refuse(was.is("SuccessCriteriaMet") && !met, "cannot disable the SuccessCriteriaMet=True condition");
    refuse(
        was.is("Complete") && !was.is("SuccessCriteriaMet") && met,
        "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
    );
}

fn validate_times(job: &View<'_>, was: &View<'_>, errors: &mut ErrorList) {
    let (start, end) = (job.status.get("startTime"), job.status.get("completionTime"));
    let start_changed = start.value != was.status.get("startTime").value;
    let end_changed = end.value != was.status.get("completionTime").value;
    if end_changed || job.is("Complete") != was.is("Complete") {
        if end.is_set() && !job.is("Complete") {
            end.invalid(errors, "cannot set completionTime when there is no Complete=True condition");
        } else if !end.is_set() && job.is("Complete") {
            errors.required(&end.path, "completionTime is required for Complete jobs");
        }
    }
    if (start_changed || end_changed)
        && let (Some(first), Some(last)) = (parse_timestamp(start.text()), parse_timestamp(end.text()))
        && last < first
    {
        end.invalid(errors, "completionTime cannot be set before startTime");
    }
    if end.is_set() && was.status.has("completionTime") && end_changed {
        end.invalid(errors, "completionTime cannot be mutated");
    }
    if was.status.has("startTime") && start_changed && !job.spec.get("suspend").flag() {
        errors.required(&start.path, "startTime cannot be removed for unsuspended job");
    }
}

fn validate_finished(job: &View<'_>, was: &View<'_>, errors: &mut ErrorList) {
    let changed = |field: &str| {
        job.is_finished() != was.is_finished() || job.status.get(field).value != was.status.get(field).value
    };
    if job.is_finished() {
        for field in ["active", "terminating"] {
            if job.number(field) > 0 && changed(field) {
                let text = format!("{field}>0 is invalid for finished job");
                job.status.get(field).invalid(errors, &text);
            }
        }
        let start = job.status.get("startTime");
        let empty_and_suspended =
            job.spec.get("suspend").flag() && job.spec.get("completions").int() == Some(0);
        if !start.is_set() && changed("startTime") && !empty_and_suspended {
            errors.required(&start.path, "startTime is required for finished job");
        }
        let uncounted = job.status.get("uncountedTerminatedPods");
        let waiting = !uncounted.get("failed").is_empty() || !uncounted.get("succeeded").is_empty();
        if waiting && changed("uncountedTerminatedPods") {
            uncounted.invalid(errors, "uncountedTerminatedPods needs to be empty for finished job");
        }
    }
    let moved = |field: &str| job.status.get(field).value != was.status.get(field).value;
    if job.number("ready") > job.number("active") && (moved("ready") || moved("active")) {
        job.status.get("ready").invalid(errors, "cannot set more ready pods than active");
    }
}

fn validate_indexes(job: &View<'_>, was: &View<'_>, errors: &mut ErrorList) {
    let (done, failed) = (job.status.get("completedIndexes"), job.status.get("failedIndexes"));
    let done_changed = done.value != was.status.get("completedIndexes").value;
    let failed_changed = failed.value != was.status.get("failedIndexes").value;
    let completions = job.spec.get("completions").int();
    let parsed = |list: &At<'_>| completions.map(|completions| indexes::parse(list.text(), completions));
    if done_changed && let Some(Err(why)) = parsed(&done) {
        done.invalid(errors, &format!("error parsing completedIndexes: {why}"));
    }
    let per_index = job.spec.has("backoffLimitPerIndex");
    if failed_changed
        && per_index
        && failed.is_set()
        && let Some(Err(why)) = parsed(&failed)
    {
        failed.invalid(errors, &format!("error parsing failedIndexes: {why}"));
    }
    if done_changed && !done.is_empty() && !job_spec::is_indexed(&job.spec) {
        done.invalid(errors, "cannot set non-empty completedIndexes when non-indexed completion mode");
    }
    if failed_changed && !per_index && failed.is_set() {
        failed.invalid(errors, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if (done_changed || failed_changed)
        && failed.is_set()
        && let (Some(Ok(done)), Some(Ok(lost))) = (parsed(&done), parsed(&failed))
        && let Some(index) = indexes::overlap(&lost, &done)
    {
        failed.invalid(errors, &format!("failedIndexes and completedIndexes overlap at index: {index}"));
    }
}

fn validate_progress(job: &View<'_>, was: &View<'_>, errors: &mut ErrorList) {
    let fell = |field: &str| job.number(field) < was.number(field);
    if fell("failed") {
        let path = job.status.path.child("failed");
        errors.invalid(&path, job.number("failed"), "cannot decrease the failed counter");
    }
    // A job whose pods are all at work at once may be made smaller.
    let elastic = job_spec::is_indexed(&job.spec)
        && job.spec.get("completions").value == job.spec.get("parallelism").value;
    if fell("succeeded") && !elastic {
        let path = job.status.path.child("succeeded");
        errors.invalid(&path, job.number("succeeded"), "cannot decrease the succeeded counter");
    }
}
