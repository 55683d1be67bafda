//! apiregistration.k8s.io/v1 APIService: a group and version that this server or another one serves.

use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, NameRule, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, quote};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;

/// apiregistration.k8s.io/v1 APIService.
pub static API_SERVICE: Kind = Kind {
    group: "apiregistration.k8s.io",
    kind: "APIService",
    plural: "apiservices",
    singular: "apiservice",
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "apiregistration.k8s.io/v1.APIService",
    list_kind: "APIServiceList",
    subresources: &[Body {
        group: "apiregistration.k8s.io",
        version: "v1",
        kind: "APIService",
        type_name: "apiregistration.k8s.io/v1.APIService",
    }
    .status()],
    rules: &ApiService,
    storage: Some(Storage::new("apiregistration.k8s.io/apiservices")),
    ..STORED
};

struct ApiService;

impl Rules for ApiService {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn prepare_create(&self, object: &mut Value) {
        object.make_map().remove("status");
        // What this server serves itself is available from the start.
        if object.path(&["spec", "service"]).is_none() {
            let now = object.path(&["metadata", "creationTimestamp"]).cloned().unwrap_or(Value::Null);
            let mut condition = value!({
                "type": "Available",
                "status": "True",
                "reason": "Local",
                "message": "Local APIServices are always available",
            });
            if !now.is_null() {
                condition.set_path(&["lastTransitionTime"], now);
            }
            object.set_path(&["status", "conditions"], vec![condition]);
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let service = At::root(object);
        let spec = service.get("spec");
        let (group, version) = (spec.get("group"), spec.get("version"));
        let (name, expected) =
            (service.dig(&["metadata", "name"]), format!("{}.{}", version.text(), group.text()));
        if name.text() != expected {
            let text = format!("must be `spec.version+\".\"+spec.group`: {}", quote(&expected));
            name.invalid(errors, &text);
        }
        if group.is_empty() {
            if version.text() != "v1" {
                let text = "only v1 may have an empty group and it better be legacy kube";
                errors.required(&group.path, text);
            }
        } else {
            group.invalid_each(errors, names::dns_subdomain(group.text()));
        }
        errors.invalid_each(&version.path, version.text(), names::dns_label_1035(version.text()));
        for (field, max) in
            [("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)]
        {
            let priority = spec.get(field);
            let value = priority.int().unwrap_or_default();
            if !(1..=max).contains(&value) {
                errors.invalid(&priority.path, value, &format!("must be positive and less than {max}"));
            }
        }
        validate_target(&spec, errors);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        for condition in At::root(new).dig(&["status", "conditions"]).items() {
            condition.get("status").one_of(errors, &["True", "False", "Unknown"]);
        }
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Service", "Who serves the group and version."),
            Column::new("Available", "Whether requests are answered."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let text = |field: &str| object.path_str(&["spec", "service", field]).unwrap_or_default();
        let service = if object.path(&["spec", "service"]).is_some() {
            format!("{}/{}", text("namespace"), text("name"))
        } else {
            String::from("Local")
        };
        let conditions = object.path_list(&["status", "conditions"]);
        let available = conditions.iter().find(|one| one.path_str(&["type"]) == Some("Available"));
        let available = available.map_or_else(
            || String::from("Unknown"),
            |condition| {
                let status = condition.path_str(&["status"]).unwrap_or_default();
                match condition.path_str(&["reason"]) {
                    Some(reason) if status != "True" => format!("{status} ({reason})"),
                    _ => status.to_owned(),
                }
            },
        );
        vec![table::name(object), service.into(), available.into(), table::age(object, now)]
    }
}

fn validate_target(spec: &At<'_>, errors: &mut ErrorList) {
    let (service, bundle, insecure) =
        (spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
    if !service.is_set() {
        if !bundle.is_empty() {
            let text = "local APIServices may not have a caBundle";
            errors.invalid(&bundle.path, format!("{} bytes", bundle.text().len() / 4 * 3), text);
        }
        if insecure.flag() {
            insecure.invalid(errors, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    service.get("namespace").require(errors, "");
    service.get("name").require(errors, "");
    let port = service.get("port");
    let faults = names::port_number(port.int().unwrap_or_default());
    if !faults.is_empty() {
        port.invalid(errors, &format!("port is not valid: {}", faults.join(", ")));
    }
    if insecure.flag() && !bundle.is_empty() {
        insecure.invalid(errors, "may not be true if caBundle is present");
    }
}
