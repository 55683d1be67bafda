//! storage.k8s.io/v1 StorageClass.

use super::parameters;
use crate::deprecated::node_label;
use crate::formats::validate_unique;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use std::collections::HashSet;
use time::OffsetDateTime;

/// storage.k8s.io/v1 StorageClass.
pub static STORAGE_CLASS: Kind = Kind {
    group: "storage.k8s.io",
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    namespaced: false,
    type_name: "storage.k8s.io/v1.StorageClass",
    list_kind: "StorageClassList",
    rules: &StorageClass,
    storage: Some(Storage::new("storageclasses")),
    ..STORED
};

/// Annotations that make a class the default one.
const IS_DEFAULT: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

struct StorageClass;

impl Rules for StorageClass {
    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let topologies = At::root(new).get("allowedTopologies");
        let expressions = topologies.items().flat_map(|one| one.get("matchLabelExpressions").items());
        let old = expressions.filter_map(|one| Some((node_label(one.text_of("key"))?, one)));
        old.map(|(what, one)| format!("{}: {what}", one.path.child("key"))).collect()
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let class = At::root(object);
        parameters::validate_driver(&class.get("provisioner"), errors);
        parameters::validate(&class.get("parameters"), true, errors);
        let policy = class.get("reclaimPolicy");
        if !policy.is_empty() {
            policy.one_of(errors, &["Delete", "Retain"]);
        }
        let mode = class.get("volumeBindingMode");
        if mode.is_set() {
            mode.one_of(errors, &["Immediate", "WaitForFirstConsumer"]);
        } else {
            errors.required(&mode.path, "");
        }
        validate_topologies(&class.get("allowedTopologies"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (class, before) = (At::root(new), At::root(old));
        parameters::validate_fixed(&class, &before, &["parameters", "provisioner", "reclaimPolicy"], errors);
        class.get("volumeBindingMode").unchanged(errors, &before.get("volumeBindingMode"));
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Provisioner", "Who makes the volumes."),
            Column::new("ReclaimPolicy", "What becomes of a volume when its claim goes."),
            Column::new("VolumeBindingMode", "When volumes are made for claims."),
            Column::new("AllowVolumeExpansion", "Whether volumes may grow."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let meta = Meta(object);
        let default = IS_DEFAULT.iter().any(|key| meta.annotation(key) == Some("true"));
        let name = if default { format!("{} (default)", meta.name()) } else { meta.name().to_owned() };
        vec![
            name.into(),
            table::text_or(object, &["provisioner"], ""),
            table::text_or(object, &["reclaimPolicy"], "Delete"),
            table::text_or(object, &["volumeBindingMode"], "<unset>"),
            table::flag(object, &["allowVolumeExpansion"]),
            table::age(object, now),
        ]
    }
}

fn validate_topologies(topologies: &At<'_>, errors: &mut ErrorList) {
    let mut terms = HashSet::new();
    for term in topologies.items() {
        let mut keys = HashSet::new();
        let mut seen = Vec::new();
        for requirement in term.get("matchLabelExpressions").items() {
            let (key, values) = (requirement.get("key"), requirement.get("values"));
            errors.invalid_each(&key.path, key.text(), names::qualified_name(key.text()));
            if !keys.insert(key.text()) {
                errors.duplicate(&key.path, key.text());
            }
            values.require(errors, "");
            validate_unique(&values, errors);
            let mut texts: Vec<&str> = values.items().map(|value| value.text()).collect();
            texts.sort_unstable();
            seen.push((key.text(), texts));
        }
        seen.sort_unstable();
        if !terms.insert(seen) {
            errors.duplicate(&term.path.child("matchLabelExpressions"), "");
        }
    }
}
