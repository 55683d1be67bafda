//! What a kind is: its names, its verbs, and the rules that only it knows ([`Rules`]). Everything that holds for
//! every kind (names, uid, generation, deletion, patches, tables, discovery) is machinery and reads a [`Kind`]
//! as data. A rule sees one object and its old state; a rule that needs another object belongs to admission.

use crate::object::Meta;
use crate::pipeline::Target;
use crate::schema::{self, Type};
use crate::structural::Structural;
use crate::validation::ErrorList;
use crate::value::Value;
use mainstay_proto_api::{Gvk, Gvr, Status};
use smol_str::SmolStr;
use std::borrow::Cow;
use std::sync::Arc;
use time::OffsetDateTime;

/// Every verb of a resource that is stored.
pub const STORED_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// One served (group, version, resource). Built-in kinds are constants; those of custom resources are made at run time
/// and interned by what they say ([`crate::intern`]), so that both are handed around as `&'static Kind`.
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Served version, such as `v1`.
    pub version: &'static str,
    /// Kind in camel case, such as `ConfigMap`.
    pub kind: &'static str,
    /// Resource name in paths, such as `configmaps`.
    pub plural: &'static str,
    /// Lower-case singular, as shown in discovery.
    pub singular: &'static str,
    /// Names that kubectl accepts in place of the plural.
    pub short_names: &'static [&'static str],
    /// Groups of resources this one belongs to, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Name in the schema tables, such as `core/v1.ConfigMap`.
    pub type_name: &'static str,
    /// Kind of a list of these, such as `ConfigMapList`.
    pub list_kind: &'static str,
    /// Verbs in discovery, sorted.
    pub verbs: &'static [&'static str],
    /// What is served below an object.
    pub subresources: &'static [Subresource],
    /// The kind's own rules.
    pub rules: &'static dyn Rules,
    /// Where objects are stored; absent for kinds that only carry a request (reviews, bindings).
    pub storage: Option<Storage>,
    /// Whether a CustomResourceDefinition defines the kind: it is stored as JSON, has no protobuf form, and its schema
    /// is behind its rules ([`Rules::structural`]).
    pub is_custom: bool,
}

/// Where and as what the objects of a kind are stored.
pub struct Storage {
    /// Key prefix below the registry root, such as `pods` or `services/specs`.
    pub prefix: &'static str,
    /// The kind whose form is stored, when it is not the served one (events.k8s.io is stored as core events).
    pub stored_as: Option<&'static Kind>,
}

impl Storage {
    /// Storage under `prefix`, in the served form.
    pub const fn new(prefix: &'static str) -> Self {
        Self { prefix, stored_as: None }
    }
}

/// A subresource of a kind.
pub struct Subresource {
    /// Last path segment, such as `status`.
    pub name: &'static str,
    /// Verbs in discovery, sorted.
    pub verbs: &'static [&'static str],
    /// Group of the body's kind.
    pub group: &'static str,
    /// Version of the body's kind.
    pub version: &'static str,
    /// Kind of the body.
    pub kind: &'static str,
    /// Name of the body's type in the schema tables.
    pub type_name: &'static str,
    /// How it is served.
    pub action: Action,
}

/// How a subresource is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The `status` of the object, through [`Rules::prepare_status`] and [`Rules::validate_status`].
    Status,
    /// An autoscaling/v1 Scale view of the object.
    Scale(ScalePaths),
    /// An update of part of the object, through [`Rules::prepare_subresource`] and
    /// [`Rules::validate_subresource`] (finalize, ephemeralcontainers, resize).
    Part,
    /// Not storage: an endpoint of the server (exec, log, binding, eviction, token, proxy).
    Connect,
}

/// Where a kind keeps what a Scale shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// Path of the wanted replica count.
    pub replicas: &'static [&'static str],
    /// Path of the observed replica count.
    pub status_replicas: &'static [&'static str],
    /// Path of the selector: a LabelSelector, or a plain map of labels.
    pub selector: &'static [&'static str],
}

impl Kind {
    /// Group, version and kind.
    pub fn gvk(&self) -> Gvk {
        Gvk { group: self.group.into(), version: self.version.into(), kind: self.kind.into() }
    }

    /// Group, version and resource.
    pub fn gvr(&self) -> Gvr {
        Gvr { group: self.group.into(), version: self.version.into(), resource: self.plural.into() }
    }

    /// The `apiVersion` of objects: `v1`, `apps/v1`.
    pub fn api_version(&self) -> Cow<'static, str> {
        if self.group.is_empty() {
            Cow::Borrowed(self.version)
        } else {
            Cow::Owned(format!("{}/{}", self.group, self.version))
        }
    }

    /// The type in the schema tables.
    ///
    /// # Panics
    /// Never for the built-in kinds: a test looks every one of them up.
    pub fn schema(&self) -> &'static Type {
        let Some(found) = schema::lookup(self.type_name) else {
            unreachable!("kind {} names the type {}, which the schema tables lack", self.kind, self.type_name)
        };
        found
    }

    /// The subresource called `name`.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// The kind whose form is stored: this one unless [`Storage::stored_as`] says otherwise.
    pub fn stored_kind(&'static self) -> &'static Kind {
        self.storage.as_ref().and_then(|storage| storage.stored_as).unwrap_or(self)
    }

    /// Whether objects of this kind are stored at all.
    pub fn is_stored(&self) -> bool {
        self.storage.is_some()
    }

    /// Whether finalizers must be standard ones or have a domain: not those of custom resources, nor of what defines them.
    pub fn has_checked_finalizers(&self) -> bool {
        !self.is_custom && !matches!(self.group, "apiextensions.k8s.io" | "apiregistration.k8s.io")
    }

    /// Whether discovery lists `verb` for this kind.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        // The plural first: it tells most kinds apart, and steps of admission ask often.
        self.plural == other.plural && self.group == other.group && self.version == other.version
    }
}

impl Eq for Kind {}

/// A column of the kind's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `boolean`, `date`.
    pub column_type: &'static str,
    /// OpenAPI format; `name` marks the name column.
    pub format: &'static str,
    /// What the column shows.
    pub description: &'static str,
    /// 0 is always shown, 1 only in wide output.
    pub priority: i32,
}

impl Column {
    /// A string column that is always shown.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, column_type: "string", format: "", description, priority: 0 }
    }

    /// The name column.
    pub const fn object_name() -> Self {
        Self {
            name: "Name",
            column_type: "string",
            format: "name",
            description: "Name of the object, unique within its namespace and kind.",
            priority: 0,
        }
    }

    /// The same column with another OpenAPI type.
    pub const fn of_type(self, column_type: &'static str) -> Self {
        Self { column_type, ..self }
    }

    /// The same column, shown only in wide output.
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }
}

/// Which names a kind accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 characters.
    Subdomain,
    /// RFC 1123 label, at most 63 characters.
    Label,
    /// Anything that is one path segment (RBAC objects).
    PathSegment,
}

/// What a delete does by default with the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionPolicy {
    /// They are deleted.
    DeleteDependents,
    /// They are kept.
    Orphan,
    /// Nothing owns through this kind; no finalizer is ever set (events).
    Unsupported,
}

/// The rules that only one kind knows. Every method is pure and has a default that says "nothing special".
///
/// The order on a create is `default`, mutating admission, `prepare_create`, `validate`, validating admission;
/// on an update `default`, mutating admission, `prepare_update`, `validate` and `validate_update`.
pub trait Rules: Sync {
    /// Which names are valid.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// Sets defaults beyond the schema's (which run first).
    fn default(&self, _object: &mut Value) {}

    /// Drops what a client may not set on a create: by default `status`.
    fn prepare_create(&self, object: &mut Value) {
        object.make_map().remove("status");
    }

    /// Restores what a client may not change on an update: by default `status`.
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        restore(new, old, "status");
    }

    /// Drops fields of features that upstream has off by default, unless the stored object has them.
    fn drop_gated(&self, _new: &mut Value, _old: Option<&Value>) {}

    /// Checks an object by itself, on a create.
    fn validate(&self, _object: &Value, _errors: &mut ErrorList) {}

    /// Checks an update; the default checks the new object by itself.
    fn validate_update(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        self.validate(new, errors);
    }

    /// Restores on an update of the status what only a plain update may change: by default everything but
    /// `status` and `metadata`.
    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_except(new, old, &["apiVersion", "kind", "metadata", "status"]);
    }

    /// Checks an update of the status.
    fn validate_status(&self, _new: &Value, _old: &Value, _errors: &mut ErrorList) {}

    /// Forms the object that an update of a [`Action::Part`] subresource stores.
    ///
    /// # Errors
    /// A status when the request makes no sense for the subresource.
    fn prepare_subresource(&self, _name: &str, _new: &mut Value, _old: &Value) -> Result<(), Status> {
        Ok(())
    }

    /// Checks an update of a [`Action::Part`] subresource.
    fn validate_subresource(&self, _name: &str, _new: &Value, _old: &Value, _errors: &mut ErrorList) {}

    /// Paths of what a write of `target` cannot change, so that no writer comes to own it through that write.
    fn reset_fields(&self, target: Target<'_>) -> &'static [&'static [&'static str]] {
        match target {
            Target::Object => &[&["status"]],
            Target::Status => &[&["spec"]],
            Target::Part(_) => &[],
        }
    }

    /// What every answer about a deprecated version warns of.
    fn deprecation(&self) -> Option<String> {
        None
    }

    /// Texts for `Warning` headers; `old` is absent on a create.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Whether creates set `metadata.generation` to 1 and updates of the wanted state add 1.
    fn tracks_generation(&self) -> bool {
        false
    }

    /// Whether an update changes the wanted state; asked only when the kind tracks generations.
    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        new.get("spec") != old.get("spec")
    }

    /// Whether an update of an absent object creates it.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether an update may leave out `metadata.resourceVersion`.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// Seconds that a deleted object gets to end, given what the request asks for; `None` deletes at once.
    fn graceful_delete_seconds(&self, _object: &Value, _requested: Option<i64>) -> Option<i64> {
        None
    }

    /// What a delete does with dependents unless the request says so.
    fn collection_policy(&self) -> CollectionPolicy {
        CollectionPolicy::DeleteDependents
    }

    /// What a delete is told that leaves to [`Rules::collection_policy`] what becomes of dependents.
    fn deletion_warning(&self) -> Option<&'static str> {
        None
    }

    /// Whether a delete answers with the deleted object in place of a Status.
    fn returns_deleted_object(&self) -> bool {
        false
    }

    /// Whether a delete first marks the object (deletion timestamp, [`Rules::mark_terminating`]) and removes it
    /// only when nothing [`Rules::holds_deletion`] (namespaces).
    fn deletes_in_phases(&self) -> bool {
        false
    }

    /// Changes the object when it is marked as being deleted.
    fn mark_terminating(&self, _object: &mut Value) {}

    /// Whether the object keeps itself from being removed beyond its `metadata.finalizers`.
    fn holds_deletion(&self, _object: &Value) -> bool {
        false
    }

    /// Columns of the table.
    fn columns(&self) -> &'static [Column] {
        DEFAULT_COLUMNS
    }

    /// Cells of the object's row, as many as [`Rules::columns`].
    fn row(&self, object: &Value, _now: OffsetDateTime) -> Vec<Value> {
        let meta = Meta(object);
        let created =
            object.path(&["metadata", "creationTimestamp"]).and_then(Value::as_str).unwrap_or_default();
        vec![Value::from(meta.name()), Value::from(created)]
    }

    /// Labels of fields that select, besides `metadata.name` and `metadata.namespace`.
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// The values of [`Rules::selectable_fields`].
    fn fields(&self, _object: &Value) -> Vec<(&'static str, SmolStr)> {
        Vec::new()
    }

    /// Those of [`Rules::selectable_fields`] that the cache keeps an index of, for kinds that are stored in their own form:
    /// a list or watch by a value of one looks at no other objects. Every index costs memory and a little of each write.
    fn indexed_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// The schema of a custom kind; none for kinds whose schema is a table.
    fn structural(&self) -> Option<Arc<Structural>> {
        None
    }

    /// Whether no object may be created any more: the definition of a custom kind is being deleted.
    fn is_closed(&self) -> bool {
        false
    }

    /// The schema of a custom kind as its definition has it, for OpenAPI documents.
    fn openapi(&self) -> Option<Value> {
        None
    }

    /// Drops what the kind's schema does not know, and adds the paths of what was dropped. Only kinds whose schema is
    /// not a table have something to do here: decoding has done it for all others.
    fn prune(&self, _object: &mut Value, _unknown: &mut Vec<String>) {}

    /// Brings an object that comes out of the store to the present schema, which may have changed since it was stored.
    fn loaded(&self, _object: &mut Value) {}

    /// Who converts between the versions of a custom kind, as its definition has it (`spec.conversion.webhook`); none
    /// where [`Rules::from_storage`] and [`Rules::to_storage`] do.
    fn converter(&self) -> Option<Arc<Value>> {
        None
    }

    /// The kind of another version of the same definition, whether it is served or not; none but for custom kinds.
    fn version(&self, _name: &str) -> Option<&'static Kind> {
        None
    }

    /// Turns the stored form into the served one, where they differ.
    #[allow(clippy::wrong_self_convention, reason = "the rules convert an object, not themselves")]
    fn from_storage(&self, _object: &mut Value) {}

    /// Turns the served form into the stored one, where they differ.
    fn to_storage(&self, _object: &mut Value) {}
}

/// Gives `field` of `new` the value that it has in `old`, or removes it.
pub fn restore(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => new.make_map().insert(field, value.clone()),
        None => new.make_map().remove(field),
    };
}

/// Gives every field of `new` but the named ones the value that it has in `old`.
pub fn restore_except(new: &mut Value, old: &Value, fields: &[&str]) {
    let map = new.make_map();
    map.retain(|name, _| fields.contains(&name));
    for (name, value) in old.as_map().into_iter().flatten() {
        if !fields.contains(&name.as_str()) {
            map.insert(name.clone(), value.clone());
        }
    }
}

/// Gives a field of `metadata` of `new` the value that it has in `old`, or removes it.
pub fn restore_meta(new: &mut Value, old: &Value, field: &str) {
    match old.path(&["metadata", field]) {
        Some(value) => new.set_path(&["metadata", field], value.clone()),
        None => drop(new.remove_path(&["metadata", field])),
    }
}

/// Columns of a kind that has none of its own.
pub const DEFAULT_COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::new("Created At", "Time at which the server created the object.").of_type("date"),
];

/// Rules of a kind that needs none.
pub struct NoRules;

impl Rules for NoRules {}
