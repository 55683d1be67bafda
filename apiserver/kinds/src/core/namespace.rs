//! core/v1 Namespace. Deleted in phases: marked `Terminating` first, gone when `spec.finalizers` is empty.

use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, NameRule, Rules, Storage, restore, restore_meta};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, names};
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;
use time::OffsetDateTime;

const FINALIZER: &str = "kubernetes";

/// core/v1 Namespace.
pub static NAMESPACE: Kind = Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    type_name: "core/v1.Namespace",
    list_kind: "NamespaceList",
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[
        Body::core("Namespace", "core/v1.Namespace").part("finalize", &["update"]),
        Body::core("Namespace", "core/v1.Namespace").status(),
    ],
    rules: &Namespace,
    storage: Some(Storage::new("namespaces")),
    ..STORED
};

struct Namespace;

impl Rules for Namespace {
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn default(&self, object: &mut Value) {
        let name = Meta(object).name().to_owned();
        if !name.is_empty() {
            object.set_path(&["metadata", "labels", "kubernetes.io/metadata.name"], name);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        // A generated name is known only now.
        self.default(object);
        object.set_path(&["status"], value!({"phase": "Active"}));
        let finalizers = object.path_list(&["spec", "finalizers"]);
        if !finalizers.iter().any(|finalizer| finalizer.as_str() == Some(FINALIZER)) {
            let mut all = finalizers.to_vec();
            all.push(FINALIZER.into());
            object.set_path(&["spec", "finalizers"], all);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        match old.path(&["spec", "finalizers"]) {
            Some(finalizers) => new.set_path(&["spec", "finalizers"], finalizers.clone()),
            None => drop(new.remove_path(&["spec", "finalizers"])),
        }
        restore(new, old, "status");
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        // Upstream shows these at the list.
        let list = At::root(object).dig(&["spec", "finalizers"]);
        for finalizer in list.items() {
            validate_finalizer(&At::new(finalizer.value, list.path.clone()), errors);
        }
    }

    fn prepare_subresource(&self, _name: &str, new: &mut Value, old: &Value) -> Result<(), Status> {
        restore(new, old, "status");
        for field in ["labels", "annotations", "ownerReferences", "finalizers"] {
            if new.path(&["metadata", field]).is_none() {
                restore_meta(new, old, field);
            }
        }
        Ok(())
    }

    fn validate_subresource(&self, _name: &str, new: &Value, _old: &Value, errors: &mut ErrorList) {
        for finalizer in At::root(new).dig(&["spec", "finalizers"]).items() {
            validate_finalizer(&finalizer, errors);
        }
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        // Upstream writes it so.
        let path = Path::new("status").child("Phase");
        let phase = At::new(At::root(new).dig(&["status", "phase"]).value, path);
        let deleting = Meta(new).is_deleting();
        if !deleting && phase.text() != "Active" {
            phase.invalid(errors, "may only be 'Active' if `deletionTimestamp` is empty");
        }
        if deleting && phase.text() != "Terminating" {
            phase.invalid(errors, "may only be 'Terminating' if `deletionTimestamp` is not empty");
        }
    }

    fn deletes_in_phases(&self) -> bool {
        true
    }

    fn mark_terminating(&self, object: &mut Value) {
        object.set_path(&["status", "phase"], "Terminating");
    }

    fn holds_deletion(&self, object: &Value) -> bool {
        !object.path_list(&["spec", "finalizers"]).is_empty()
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Status", "Whether the namespace is in use or being deleted."),
            Column::new("Age", "Time since the object was created."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        vec![table::name(object), table::text_or(object, &["status", "phase"], ""), table::age(object, now)]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        vec![("status.phase", object.path_str(&["status", "phase"]).unwrap_or_default().into())]
    }
}

fn validate_finalizer(finalizer: &At<'_>, errors: &mut ErrorList) {
    finalizer.invalid_each(errors, names::qualified_name(finalizer.text()));
    let standard = ["kubernetes", "orphan", "foregroundDeletion"];
    if !finalizer.text().contains('/') && !standard.contains(&finalizer.text()) {
        finalizer.invalid(errors, "name is neither a standard finalizer name nor is it fully qualified");
    }
}
