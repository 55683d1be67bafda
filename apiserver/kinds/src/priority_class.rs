//! scheduling.k8s.io/v1 PriorityClass.

use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// The highest value that a class of a user may have.
const USER_PRIORITY_MAX: i64 = 1_000_000_000;
/// Classes that the system itself makes, with their values.
pub const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// scheduling.k8s.io/v1 PriorityClass.
pub static PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    type_name: "scheduling.k8s.io/v1.PriorityClass",
    list_kind: "PriorityClassList",
    rules: &PriorityClass,
    storage: Some(Storage::new("priorityclasses")),
    ..STORED
};

struct PriorityClass;

impl Rules for PriorityClass {
    fn default(&self, object: &mut Value) {
        if object.path(&["preemptionPolicy"]).is_none_or(Value::is_null) {
            object.set_path(&["preemptionPolicy"], "PreemptLowerPriority");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set_path(&["metadata", "generation"], 1);
    }

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let class = At::root(object);
        let value = class.get("value");
        let name = Meta(object).name();
        if name.starts_with("system-") {
            if let Err(why) =
                check_system_class(name, value.int().unwrap_or_default(), class.get("globalDefault").flag())
            {
                errors.forbidden(
                    &Path::new("metadata").child("name"),
                    &format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}"),
                );
            }
        } else if value.int().unwrap_or_default() > USER_PRIORITY_MAX {
            errors.forbidden(
                &value.path,
                &format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}"),
            );
        }
        let preemption = class.get("preemptionPolicy");
        if preemption.require(errors, "") {
            preemption.one_of(errors, &["PreemptLowerPriority", "Never"]);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (class, before) = (At::root(new), At::root(old));
        let value = class.get("value");
        if value.int().unwrap_or_default() != before.get("value").int().unwrap_or_default() {
            errors.forbidden(&value.path, "may not be changed in an update.");
        }
        class.get("preemptionPolicy").unchanged(errors, &before.get("preemptionPolicy"));
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Value", "Priority of pods of this class.").of_type("integer"),
            Column::new("Global-Default", "Whether pods without a class get this one.").of_type("boolean"),
            Column::new("Age", "Time since the object was created."),
            Column::new("PreemptionPolicy", "Whether pods of this class may push out others."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        vec![
            table::name(object),
            table::number(object, &["value"]),
            object.path_bool(&["globalDefault"]).unwrap_or_default().into(),
            table::age(object, now),
            table::text_or(object, &["preemptionPolicy"], "PreemptLowerPriority"),
        ]
    }
}

fn check_system_class(name: &str, value: i64, global_default: bool) -> Result<(), String> {
    let Some((_, expected)) = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if value != *expected {
        return Err(format!("value of {name} PriorityClass must be {expected}"));
    }
    if global_default {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}
