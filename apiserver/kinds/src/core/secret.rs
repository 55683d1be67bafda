//! core/v1 Secret.

use super::config_map::{DATA_BYTES_MAX, decoded_length, validate_immutable};
use super::key_pair;
use crate::shape::STORED;
use crate::table;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use time::OffsetDateTime;

/// core/v1 Secret.
pub static SECRET: Kind = Kind {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    type_name: "core/v1.Secret",
    list_kind: "SecretList",
    rules: &Secret,
    storage: Some(Storage::new("secrets")),
    ..STORED
};

struct Secret;

impl Rules for Secret {
    fn default(&self, object: &mut Value) {
        if object.path_str(&["type"]).unwrap_or_default().is_empty() {
            object.set_path(&["type"], "Opaque");
        }
        // stringData is write-only: its entries replace those of data.
        let Some(Value::Map(strings)) = object.remove_path(&["stringData"]) else { return };
        let data = object.make_map().get_or_insert_map("data");
        for (key, value) in strings {
            data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()));
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        // The type cannot change, so leaving it out means keeping it.
        if new.path_str(&["type"]).unwrap_or_default().is_empty() {
            mainstay_apiserver_machinery::kind::restore(new, old, "type");
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let object = At::root(object);
        let data = object.get("data");
        let mut bytes = 0;
        for (key, value) in data.entries() {
            errors.invalid_each(&value.path, key, names::config_map_key(key));
            bytes += decoded_length(value.text());
        }
        if bytes > DATA_BYTES_MAX {
            errors.too_long(&data.path, DATA_BYTES_MAX);
        }
        validate_type(&object, &data, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (object, before) = (At::root(new), At::root(old));
        object.get("type").unchanged(errors, &before.get("type"));
        validate_immutable(&object, &before, &["data"], errors);
        self.validate(new, errors);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        if new.path_str(&["type"]) != Some("kubernetes.io/tls") {
            return Vec::new();
        }
        let entry = |key: &str| {
            let text = new.path_str(&["data", key]).unwrap_or_default();
            STANDARD.decode(text).unwrap_or_default()
        };
        key_pair::fault(&entry("tls.crt"), &entry("tls.key")).into_iter().collect()
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Type", "What the entries are for; some types require entries."),
            Column::new("Data", "How many entries the object holds."),
            Column::new("Age", "Time since the object was created."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let entries = i64::try_from(At::root(object).get("data").len()).unwrap_or(i64::MAX);
        vec![
            table::name(object),
            table::text_or(object, &["type"], ""),
            entries.into(),
            table::age(object, now),
        ]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        vec![("type", object.path_str(&["type"]).unwrap_or_default().into())]
    }
}

fn validate_type(object: &At<'_>, data: &At<'_>, errors: &mut ErrorList) {
    let json_key = |key: &str, errors: &mut ErrorList| {
        let value = data.get(key);
        let path = data.path.key(key);
        if !value.is_set() {
            errors.required(&path, "");
            return;
        }
        let decoded = STANDARD.decode(value.text()).unwrap_or_default();
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&decoded) {
            errors.invalid(&path, "<secret contents redacted>", &error.to_string());
        }
    };
    match object.text_of("type") {
        "kubernetes.io/service-account-token" => {
            // Only a token that the server makes names its account.
            let name = object.dig(&["metadata", "annotations"]);
            let key = "kubernetes.io/service-account.name";
            if name.text_of(key).is_empty() {
                errors.required(&name.path.key(key), "");
            }
        }
        "kubernetes.io/dockercfg" => json_key(".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => json_key(".dockerconfigjson", errors),
        "kubernetes.io/basic-auth" => {
            let (user, password) = ("username", "password");
            if !data.has(user) && !data.has(password) {
                errors.required(&data.path.key(user), "");
                errors.required(&data.path.key(password), "");
            }
        }
        "kubernetes.io/ssh-auth" if data.text_of("ssh-privatekey").is_empty() => {
            errors.required(&data.path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if !data.has(key) {
                    errors.required(&data.path.key(key), "");
                }
            }
        }
        _ => {}
    }
}
