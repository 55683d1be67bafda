//! The rules of CustomResourceDefinition.

use super::approval::check_approval;
use super::conditions::{CLEANUP_FINALIZER, Condition, is_true, set_condition};
use super::spec::{check_names, check_spec, check_spec_update};
use crate::custom::is_known_format;
use mainstay_apiserver_machinery::kind::{Rules, restore};
use mainstay_apiserver_machinery::object::{Meta, MetaMut};
use mainstay_apiserver_machinery::pipeline::parse_timestamp;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path};
use mainstay_apiserver_machinery::value::{Map, Value};
use smol_str::SmolStr;
use time::OffsetDateTime;

pub(super) struct DefinitionRules;

impl Rules for DefinitionRules {
    fn default(&self, object: &mut Value) {
        let kind = object.path_str(&["spec", "names", "kind"]).unwrap_or_default().to_owned();
        let names = object.make_map().get_or_insert_map("spec").get_or_insert_map("names");
        if names.get("singular").is_none_or(Value::is_empty) && !kind.is_empty() {
            names.insert("singular", kind.to_lowercase());
        }
        if names.get("listKind").is_none_or(Value::is_empty) && !kind.is_empty() {
            names.insert("listKind", format!("{kind}List"));
        }
        if object.path_list(&["status", "storedVersions"]).is_empty() {
            add_stored_version(object);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object.set_path(&["status"], Value::map());
        add_stored_version(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        restore(new, old, "status");
        add_stored_version(new);
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.get("spec");
        let wanted = format!("{}.{}", spec.dig(&["names", "plural"]).text(), spec.get("group").text());
        let name = root.dig(&["metadata", "name"]);
        if name.text() != wanted {
            name.invalid(errors, "must be spec.names.plural+\".\"+spec.group");
        }
        check_spec(&spec, None, errors);
        check_names(&root.dig(&["status", "acceptedNames"]), errors);
        check_stored_versions(&root, errors);
        check_approval(object, None, errors);
        check_preserves_unknown(object, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(new);
        check_spec_update(&root.get("spec"), old, is_true(old, "Established"), errors);
        check_names(&root.dig(&["status", "acceptedNames"]), errors);
        check_stored_versions(&root, errors);
        check_approval(new, Some(old), errors);
        check_preserves_unknown(new, Some(old), errors);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        check_names(&At::root(new).dig(&["status", "acceptedNames"]), errors);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut formats = Vec::new();
        for version in new.path_list(&["spec", "versions"]) {
            if let Some(schema) = version.path(&["schema", "openAPIV3Schema"]) {
                unknown_formats(schema, &mut formats);
            }
        }
        formats.iter().map(|format| format!("unrecognized format \"{format}\"")).collect()
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn deletes_in_phases(&self) -> bool {
        true
    }

    fn mark_terminating(&self, object: &mut Value) {
        let time = Meta(object).deletion_timestamp().and_then(parse_timestamp);
        let condition = Condition {
            condition_type: "Terminating",
            status: "True",
            reason: "InstanceDeletionPending",
            message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
                .to_owned(),
        };
        set_condition(object, &condition, time.unwrap_or(OffsetDateTime::UNIX_EPOCH));
        if !Meta(object).has_finalizer(CLEANUP_FINALIZER) {
            let mut finalizers: Vec<SmolStr> = Meta(object).finalizers().map(SmolStr::new).collect();
            finalizers.push(SmolStr::new_static(CLEANUP_FINALIZER));
            MetaMut(object).set_finalizers(finalizers.iter().map(SmolStr::as_str));
        }
    }
}

/// Notes that objects may be stored in the version that is marked so.
fn add_stored_version(object: &mut Value) {
    let versions = object.path_list(&["spec", "versions"]);
    let stored = versions.iter().find(|version| version.path_bool(&["storage"]) == Some(true));
    let Some(name) = stored.and_then(|version| version.path_str(&["name"])).map(SmolStr::new) else { return };
    let list = object.make_map().get_or_insert_map("status").get_or_insert_list("storedVersions");
    if !list.iter().any(|one| one == name.as_str()) {
        list.push(Value::Str(name));
    }
}

fn check_stored_versions(root: &At<'_>, errors: &mut ErrorList) {
    let stored = root.dig(&["status", "storedVersions"]);
    if stored.is_empty() {
        return errors.invalid(
            &stored.path,
            Value::List(Vec::new()),
            "must have at least one stored version",
        );
    }
    let versions = root.dig(&["spec", "versions"]);
    let list = stored.value.as_list().unwrap_or_default();
    for version in versions.items() {
        let name = version.text_of("name");
        if version.get("storage").flag() && !list.iter().any(|one| one == name) {
            stored.invalid(errors, &format!("must have the storage version {name}"));
        }
    }
    for one in stored.items() {
        let name = one.text();
        if !versions.items().any(|version| version.text_of("name") == name) {
            one.invalid(
                errors,
                &format!(
                    "missing from spec.versions; {name} was previously a storage version, and must remain in \
                     spec.versions until a storage migration ensures no data remains persisted in {name} and removes \
                     {name} from status.storedVersions"
                ),
            );
        }
    }
}

fn check_preserves_unknown(new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let preserves = |crd: &Value| crd.path_bool(&["spec", "preserveUnknownFields"]).unwrap_or_default();
    if preserves(new) && !old.is_some_and(preserves) {
        errors.invalid(
            &Path::new("spec").child("preserveUnknownFields"),
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
}

fn unknown_formats(schema: &Value, found: &mut Vec<String>) {
    let format = schema.path_str(&["format"]).unwrap_or_default();
    if !format.is_empty() && !is_known_format(format) && !found.iter().any(|one| one == format) {
        found.push(format.to_owned());
    }
    let members = schema.path_map(&["properties"]).into_iter().flat_map(Map::values);
    let single = ["items", "additionalProperties", "not"].iter().filter_map(|name| schema.get(name));
    let lists = ["allOf", "anyOf", "oneOf"].iter().flat_map(|name| schema.path_list(&[name]));
    for schema in members.chain(single).chain(lists) {
        unknown_formats(schema, found);
    }
}
