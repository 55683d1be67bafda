//! The check of a job's spec, by itself and in the template of a cron job.

use super::{failure_policy, indexes};
use crate::formats::{validate_domain_prefixed_path, validate_length};
use crate::pod_spec::{Subject, name_warning, spec_changed, validate_template, warnings as pod_warnings};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;

/// Bounds of indexed jobs, which keep the lists of indexes short.
const PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
const COMPLETIONS_SOFT_MAX: i64 = 100_000;
const HIGH_COMPLETIONS_MAX: i64 = 10_000;
const SUCCESS_RULES_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;

/// Whether the job is of mode `Indexed`.
pub(super) fn is_indexed(spec: &At<'_>) -> bool {
    spec.text_of("completionMode") == "Indexed"
}

/// Texts for `Warning` headers about the object that has a job's spec at `path`.
pub(super) fn warnings(new: &Value, old: Option<&Value>, path: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_none() {
        out.extend(name_warning(new, "Pod names and hostnames"));
    }
    if spec_changed(new, old) {
        let spec = At::root(new).dig(path);
        let above = |field: &str, max: i64| spec.get(field).int().is_some_and(|value| value > max);
        if is_indexed(&spec)
            && above("completions", COMPLETIONS_SOFT_MAX)
            && above("parallelism", HIGH_COMPLETIONS_MAX)
        {
            out.push(format!(
                "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than \
                 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
                spec.path
            ));
        }
        pod_warnings(&spec.get("template"), Subject::Template, &mut out);
    }
    out
}

pub(super) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.get(field).non_negative(errors);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.required(&spec.path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    let manager = spec.get("managedBy");
    if manager.is_set() {
        validate_domain_prefixed_path(&manager, errors);
        validate_length(&manager, 63, errors);
    }
    let mode = spec.get("completionMode");
    if mode.is_set() {
        mode.one_of(errors, &["NonIndexed", "Indexed"]);
    }
    if is_indexed(spec) {
        validate_indexed(spec, errors);
    }
    if matches!(mode.text(), "" | "NonIndexed") {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            let field = spec.get(field);
            if field.is_set() {
                field.invalid(errors, "requires indexed completion mode");
            }
        }
    }
    failure_policy::validate(spec, errors);
    let success = spec.get("successPolicy");
    if success.is_set() {
        if is_indexed(spec) {
            validate_success_policy(spec, &success, errors);
        } else {
            success.invalid(errors, "requires indexed completion mode");
        }
    }
    let replacement = spec.get("podReplacementPolicy");
    if replacement.is_set() {
        let all: &[&str] =
            if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        replacement.one_of(errors, all);
    }
    let template = spec.get("template");
    validate_template(&template, errors);
    validate_restart_policy(spec, &template.dig(&["spec", "restartPolicy"]), errors);
}

fn validate_restart_policy(spec: &At<'_>, policy: &At<'_>, errors: &mut ErrorList) {
    match policy.text() {
        // The default of pods, which jobs must not have.
        "" | "Always" => errors.required(&policy.path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.has("podFailurePolicy") => {
            policy.invalid(errors, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(&policy.path, other, &["OnFailure", "Never"]),
    }
}

fn validate_indexed(spec: &At<'_>, errors: &mut ErrorList) {
    let [completions, parallelism, failed] =
        ["completions", "parallelism", "maxFailedIndexes"].map(|field| spec.get(field));
    if !completions.is_set() {
        errors.required(&completions.path, "when completion mode is Indexed");
    }
    let above = |field: &At<'_>, max: i64| field.int().is_some_and(|value| value > max);
    if above(&parallelism, PARALLELISM_MAX) {
        let text = format!("must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed");
        parallelism.invalid(errors, &text);
    }
    if completions.int().is_some_and(|completions| above(&failed, completions)) {
        failed.invalid(errors, "must be less than or equal to completions");
    }
    if above(&failed, FAILED_INDEXES_MAX) {
        failed.invalid(errors, &format!("must be less than or equal to {FAILED_INDEXES_MAX}"));
    }
    if !above(&completions, COMPLETIONS_SOFT_MAX) || !spec.has("backoffLimitPerIndex") {
        return;
    }
    if !failed.is_set() {
        let text = format!("must be specified when completions is above {COMPLETIONS_SOFT_MAX}");
        errors.required(&failed.path, &text);
    }
    for field in [&parallelism, &failed] {
        if above(field, HIGH_COMPLETIONS_MAX) {
            let text = format!(
                "must be less than or equal to {HIGH_COMPLETIONS_MAX} when completions are above \
                 {COMPLETIONS_SOFT_MAX} and used with backoff limit per index"
            );
            field.invalid(errors, &text);
        }
    }
}

fn validate_success_policy(spec: &At<'_>, policy: &At<'_>, errors: &mut ErrorList) {
    let completions = spec.get("completions").int().unwrap_or_default();
    let rules = policy.get("rules");
    if rules.is_empty() {
        let text = "at least one rules must be specified when the successPolicy is specified";
        errors.required(&rules.path, text);
    }
    if rules.len() > SUCCESS_RULES_MAX {
        errors.too_many(&rules.path, rules.len(), SUCCESS_RULES_MAX);
    }
    for rule in rules.items() {
        let (count, list) = (rule.get("succeededCount"), rule.get("succeededIndexes"));
        if !count.is_set() && !list.is_set() {
            let text = "at least one of succeededCount or succeededIndexes must be specified";
            errors.required(&rule.path, text);
        }
        let mut listed = None;
        if list.is_set() {
            validate_length(&list, INDEXES_BYTES_MAX, errors);
            match indexes::parse(list.text(), completions) {
                Ok(intervals) => listed = Some(indexes::count(&intervals)),
                Err(why) => {
                    listed = Some(0);
                    list.invalid(errors, &format!("error parsing succeededIndexes: {why}"));
                }
            }
        }
        let Some(wanted) = count.int() else { continue };
        count.non_negative(errors);
        if wanted > completions {
            let text =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            count.invalid(errors, &text);
        }
        if let Some(listed) = listed.filter(|listed| wanted > *listed) {
            count.invalid(
                errors,
                &format!(
                    "must be less than or equal to {listed} (the number of indexes in the specified \
                     succeededIndexes field)"
                ),
            );
        }
    }
}
