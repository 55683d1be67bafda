//! core/v1 LimitRange. What it does to pods and claims is admission.

use crate::amount::quantity;
use crate::pod_spec::{validate_container_resource_name, validate_resource_name};
use crate::shape::STORED;
use mainstay_apiserver_machinery::kind::{Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::{Map, Value};
use mainstay_proto_api::Quantity;
use std::collections::{BTreeSet, HashSet};

/// core/v1 LimitRange.
pub static LIMIT_RANGE: Kind = Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    type_name: "core/v1.LimitRange",
    list_kind: "LimitRangeList",
    rules: &LimitRange,
    storage: Some(Storage::new("limitranges")),
    ..STORED
};

struct LimitRange;

impl Rules for LimitRange {
    fn default(&self, object: &mut Value) {
        let limits = object.path_mut(&["spec", "limits"]).and_then(Value::as_list_mut);
        for limit in limits.into_iter().flatten().filter_map(Value::as_map_mut) {
            if limit.get("type").and_then(Value::as_str) == Some("Container") {
                fill(limit, "default", "max");
                fill(limit, "defaultRequest", "default");
                fill(limit, "defaultRequest", "min");
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        // Upstream takes a random name; the uid is one.
        if Meta(object).name().is_empty() {
            let uid = Meta(object).uid().to_owned();
            object.set_path(&["metadata", "name"], uid);
        }
    }

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let mut seen = HashSet::new();
        for limit in At::root(object).dig(&["spec", "limits"]).items() {
            let kind = limit.get("type");
            validate_type(&kind, errors);
            if !seen.insert(kind.text()) {
                errors.duplicate(&kind.path, kind.text());
            }
            validate_limit(&limit, errors);
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

/// Takes amounts of `target` that are absent from `source`.
fn fill(limit: &mut Map, target: &str, source: &str) {
    let Some(Value::Map(source)) = limit.get(source).cloned() else { return };
    if source.is_empty() {
        return;
    }
    let target = limit.get_or_insert_map(target);
    for (name, amount) in &source {
        target.get_or_insert(name, || amount.clone());
    }
}

fn validate_type(kind: &At<'_>, errors: &mut ErrorList) {
    let faults = names::qualified_name(kind.text());
    if !faults.is_empty() {
        kind.invalid_each(errors, faults);
    } else if !kind.text().contains('/')
        && !matches!(kind.text(), "Pod" | "Container" | "PersistentVolumeClaim")
    {
        kind.invalid(errors, "must be a standard limit type or fully qualified");
    }
}

const LISTS: &[&str] = &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn validate_limit(limit: &At<'_>, errors: &mut ErrorList) {
    let kind = limit.text_of("type");
    let mut resources = BTreeSet::new();
    for list in LISTS {
        let list_at = limit.get(list);
        if kind == "Pod" && matches!(*list, "default" | "defaultRequest") {
            if !list_at.is_empty() {
                errors.forbidden(&list_at.path, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, amount) in list_at.entries() {
            if matches!(kind, "Pod" | "Container") {
                validate_container_resource_name(name, &amount, errors);
            } else {
                validate_resource_name(name, &amount, errors);
            }
            resources.insert(name);
        }
    }
    if kind == "PersistentVolumeClaim" && !limit.get("min").has("storage") && !limit.get("max").has("storage")
    {
        errors.required(
            &limit.path.child("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
    for resource in resources {
        validate_resource(limit, resource, errors);
    }
}

fn validate_resource(limit: &At<'_>, resource: &str, errors: &mut ErrorList) {
    let field = |list: &str| {
        let list = limit.get(list);
        At::new(list.get(resource).value, list.path.key(resource))
    };
    let [max, min, default, request, ratio] =
        ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"].map(field);
    let too_much = |low: &At<'_>,
                    high: &At<'_>,
                    at: &At<'_>,
                    shown: &At<'_>,
                    text: [&str; 2],
                    errors: &mut ErrorList| {
        if let (Some(below), Some(above)) = (quantity(low), quantity(high))
            && below > above
        {
            let text = format!("{} {} is greater than {} {}", text[0], below.text(), text[1], above.text());
            errors.invalid(&at.path, shown.value.clone(), &text);
        }
    };
    too_much(&min, &max, &min, &min, ["min value", "max value"], errors);
    too_much(&min, &request, &request, &request, ["min value", "default request value"], errors);
    too_much(&request, &max, &request, &request, ["default request value", "max value"], errors);
    too_much(
        &request,
        &default,
        &request,
        &request,
        ["default request value", "default limit value"],
        errors,
    );
    too_much(&min, &default, &default, &min, ["min value", "default value"], errors);
    too_much(&default, &max, &default, &max, ["default value", "max value"], errors);
    validate_ratio(&ratio, &min, &max, errors);
    let fixed = resource.starts_with("hugepages-")
        || (resource.contains('/') && !resource.contains("kubernetes.io/"));
    if let (Some(limit), Some(asked)) = (quantity(&default), quantity(&request))
        && fixed
        && limit != asked
    {
        let text = format!(
            "default value {} must equal to defaultRequest value {} in {resource}",
            limit.text(),
            asked.text()
        );
        request.invalid(errors, &text);
    }
}

fn validate_ratio(ratio: &At<'_>, min: &At<'_>, max: &At<'_>, errors: &mut ErrorList) {
    let Some(value) = quantity(ratio) else { return };
    if value < Quantity::from_milli(1000) {
        ratio.invalid(errors, &format!("ratio {} is less than 1", value.text()));
    }
    if let (Some(low), Some(high)) = (quantity(min), quantity(max)) {
        let bound = high.as_f64() / low.as_f64();
        if value.as_f64() > bound {
            ratio.invalid(errors, &format!("ratio {} is greater than max/min = {bound:.6}", value.text()));
        }
    }
}
