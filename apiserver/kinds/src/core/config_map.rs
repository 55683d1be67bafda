//! core/v1 ConfigMap.

use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, names};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// Bytes that the values of a ConfigMap or Secret may take together.
pub(crate) const DATA_BYTES_MAX: usize = 1024 * 1024;

/// core/v1 ConfigMap.
pub static CONFIG_MAP: Kind = Kind {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    type_name: "core/v1.ConfigMap",
    list_kind: "ConfigMapList",
    rules: &ConfigMap,
    storage: Some(Storage::new("configmaps")),
    ..STORED
};

struct ConfigMap;

impl Rules for ConfigMap {
    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let object = At::root(object);
        let (data, binary) = (object.get("data"), object.get("binaryData"));
        let mut bytes = 0;
        for (key, value) in data.entries() {
            errors.invalid_each(&value.path, key, names::config_map_key(key));
            if binary.has(key) {
                errors.invalid(&value.path, key, "duplicate of key present in binaryData");
            }
            bytes += value.text().len();
        }
        for (key, value) in binary.entries() {
            errors.invalid_each(&value.path, key, names::config_map_key(key));
            bytes += decoded_length(value.text());
        }
        if bytes > DATA_BYTES_MAX {
            // Upstream's name for the object as a whole.
            errors.too_long(&Path::new("[]"), DATA_BYTES_MAX);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (object, before) = (At::root(new), At::root(old));
        validate_immutable(&object, &before, &["data", "binaryData"], errors);
        self.validate(new, errors);
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Data", "How many entries the object holds."),
            Column::new("Age", "Time since the object was created."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let object_at = At::root(object);
        let entries = object_at.get("data").len() + object_at.get("binaryData").len();
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        vec![table::name(object), entries.into(), table::age(object, now)]
    }
}

/// Bytes that a base64 text stands for.
pub(crate) fn decoded_length(base64: &str) -> usize {
    let padding = base64.bytes().rev().take_while(|byte| *byte == b'=').count();
    (base64.len() / 4 * 3).saturating_sub(padding.min(2))
}

/// Checks that an object marked immutable keeps the mark and the named fields.
pub(crate) fn validate_immutable(new: &At<'_>, old: &At<'_>, fields: &[&str], errors: &mut ErrorList) {
    if !old.get("immutable").flag() {
        return;
    }
    let mark = new.get("immutable");
    if !mark.flag() {
        errors.forbidden(&mark.path, "field is immutable when `immutable` is set");
    }
    for field in fields {
        let (new, old) = (new.get(field), old.get(field));
        if new.value != old.value && !(new.is_empty() && old.is_empty()) {
            errors.forbidden(&new.path, "field is immutable when `immutable` is set");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_decoded_bytes() {
        for (text, bytes) in [("", 0), ("YQ==", 1), ("YWI=", 2), ("YWJj", 3), ("YWJjZA==", 4)] {
            assert_eq!(decoded_length(text), bytes, "{text}");
        }
    }
}
