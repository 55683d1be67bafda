//! storage.k8s.io/v1 CSIDriver.

use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;
use time::OffsetDateTime;

/// Bounds of a token's lifetime, in seconds.
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// storage.k8s.io/v1 CSIDriver.
pub static CSI_DRIVER: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    namespaced: false,
    type_name: "storage.k8s.io/v1.CSIDriver",
    list_kind: "CSIDriverList",
    rules: &CsiDriver,
    storage: Some(Storage::new("csidrivers")),
    ..STORED
};

struct CsiDriver;

impl Rules for CsiDriver {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        // Upstream's name of the first field in its texts.
        for (field, shown) in [
            ("attachRequired", "attachedRequired"),
            ("podInfoOnMount", "podInfoOnMount"),
            ("storageCapacity", "storageCapacity"),
        ] {
            if !spec.has(field) {
                errors.required(&spec.path.child(shown), "");
            }
        }
        let policy = spec.get("fsGroupPolicy");
        if policy.is_set() {
            policy.one_of(errors, &["File", "None", "ReadWriteOnceWithFSType"]);
        }
        validate_token_requests(&spec.get("tokenRequests"), errors);
        let modes = spec.get("volumeLifecycleModes");
        for mode in modes.items().filter(|mode| !matches!(mode.text(), "Persistent" | "Ephemeral")) {
            errors.not_supported(&modes.path, mode.text(), &["Persistent", "Ephemeral"]);
        }
        if !spec.has("seLinuxMount") {
            errors.required(&spec.path.child("seLinuxMount"), "");
        }
        let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
        if period.int().is_some_and(|seconds| seconds < 10) {
            period.invalid(errors, "must be greater than or equal to 10 seconds");
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        At::new(spec.get("attachRequired").value, spec.path.child("attachedRequired"))
            .unchanged(errors, &before.get("attachRequired"));
        spec.get("volumeLifecycleModes").unchanged(errors, &before.get("volumeLifecycleModes"));
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("AttachRequired", "Whether volumes are attached before they are mounted.")
                .of_type("boolean"),
            Column::new("PodInfoOnMount", "Whether the driver is told about the pod.").of_type("boolean"),
            Column::new("StorageCapacity", "Whether free capacity is published.").of_type("boolean"),
            Column::new("TokenRequests", "Audiences of tokens that the driver gets."),
            Column::new("RequiresRepublish", "Whether mounts are made again and again.").of_type("boolean"),
            Column::new("Modes", "How long volumes live."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let flag =
            |field: &str, absent: bool| Value::from(object.path_bool(&["spec", field]).unwrap_or(absent));
        let join = |texts: Vec<&str>, absent: &str| {
            if texts.is_empty() { absent.to_owned() } else { texts.join(",") }
        };
        let modes = object.path_list(&["spec", "volumeLifecycleModes"]).iter();
        let audiences = object.path_list(&["spec", "tokenRequests"]).iter();
        vec![
            table::name(object),
            flag("attachRequired", true),
            flag("podInfoOnMount", false),
            flag("storageCapacity", false),
            join(audiences.filter_map(|request| request.path_str(&["audience"])).collect(), "<unset>").into(),
            flag("requiresRepublish", false),
            join(modes.filter_map(Value::as_str).collect(), "<none>").into(),
            table::age(object, now),
        ]
    }
}

fn validate_token_requests(requests: &At<'_>, errors: &mut ErrorList) {
    let mut audiences = HashSet::new();
    for request in requests.items() {
        let (audience, seconds) = (request.get("audience"), request.get("expirationSeconds"));
        if !audiences.insert(audience.text()) {
            errors.duplicate(&audience.path, audience.text());
            continue;
        }
        if seconds.int().is_some_and(|seconds| seconds < TOKEN_SECONDS_MIN) {
            seconds.invalid(errors, "may not specify a duration less than 10 minutes");
        }
        if seconds.int().is_some_and(|seconds| seconds > TOKEN_SECONDS_MAX) {
            seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
        }
    }
}
