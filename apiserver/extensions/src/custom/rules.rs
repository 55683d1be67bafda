//! The rules of a custom kind: all of them read the definition that stands behind the kind at the moment.

use super::check_embedded;
use super::column::cell;
use super::definition::{Definition, Version};
use super::list_types::check_list_types;
use super::rule_tree::check_rules;
use super::values::{ValueCheck, check_update};
use arc_swap::ArcSwapOption;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, restore, restore_except, restore_meta};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::structural::{
    Structural, apply_defaults, drop_forbidden_nulls, prune_root,
};
use mainstay_apiserver_machinery::validation::{ErrorList, Path, names};
use mainstay_apiserver_machinery::value::Value;
use smol_str::{SmolStr, ToSmolStr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use time::OffsetDateTime;

/// Fields that no generation counts.
const UNCOUNTED: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Finalizers without a domain that upstream itself has.
const STANDARD_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// What a kind's face says, which never changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) columns: &'static [Column],
    pub(super) selectable: &'static [&'static str],
    pub(super) has_status: bool,
    pub(super) is_namespaced: bool,
}

/// One version of the definition behind a kind.
pub(super) struct Live {
    definition: Arc<Definition>,
    index: usize,
    stored: usize,
    /// The kinds of all versions.
    siblings: Siblings,
}

/// Kinds by version.
pub(super) type Siblings = Arc<[(SmolStr, &'static Kind)]>;

impl Live {
    pub(super) fn new(
        definition: &Arc<Definition>,
        (index, stored): (usize, usize),
        siblings: &Siblings,
    ) -> Self {
        Self { definition: Arc::clone(definition), index, stored, siblings: Arc::clone(siblings) }
    }

    fn version(&self) -> Option<&Version> {
        self.definition.versions.get(self.index)
    }

    fn schema(&self) -> Option<&Arc<Structural>> {
        self.version().map(|version| &version.schema)
    }
}

/// Rules that read a definition.
pub struct CustomRules {
    facts: Facts,
    live: ArcSwapOption<Live>,
    is_closed: AtomicBool,
}

impl CustomRules {
    pub(super) const fn new(facts: Facts) -> Self {
        Self { facts, live: ArcSwapOption::const_empty(), is_closed: AtomicBool::new(false) }
    }

    pub(super) fn set(&self, live: Option<Arc<Live>>) {
        self.live.store(live);
        self.is_closed.store(false, Ordering::Release);
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Runs `f` with the version behind the kind; a kind whose definition is gone has none.
    fn with<T>(&self, f: impl FnOnce(&Version) -> T) -> Option<T> {
        self.live.load().as_ref().and_then(|live| live.version().map(f))
    }

    fn check(&self, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        let checked = self.with(|version| {
            let root = Path::root();
            let check = ValueCheck { schema: &version.schema, patterns: &version.patterns };
            check_update(&check, new, old, &root, errors);
            check_list_types(new, &version.schema, &root, errors);
            check_embedded(new, &version.schema, &root, errors);
            check_scale(version, new, errors);
            // Rules expect values of the types that the schema states.
            if let Some(rules) = version.rules.as_ref().filter(|_| errors.is_empty()) {
                check_rules(rules, &version.schema, new, old, (&root, errors));
            }
        });
        if checked.is_none() {
            errors.forbidden(&Path::root(), "the definition of the resource is gone");
        }
    }
}

/// Brings an object to a schema, without telling what that took.
fn conform(object: &mut Value, schema: &Structural) {
    let mut unknown = Vec::new();
    prune_root(object, schema, &mut unknown);
    drop_forbidden_nulls(object, schema);
    apply_defaults(object, schema);
}

/// Replica counts that a Scale shows are whole numbers from zero on.
fn check_scale(version: &Version, object: &Value, errors: &mut ErrorList) {
    let Some(scale) = &version.scale else { return };
    for names in [&scale.replicas, &scale.status_replicas] {
        let path: Vec<&str> = names.iter().map(SmolStr::as_str).collect();
        let Some(value) = object.path(&path) else { continue };
        if value.as_i64().is_none_or(|count| !(0..=i64::from(i32::MAX)).contains(&count)) {
            errors.invalid(&Path::new(&path.join(".")), value.clone(), "should be a non-negative integer");
        }
    }
}

impl Rules for CustomRules {
    fn structural(&self) -> Option<Arc<Structural>> {
        self.live.load().as_ref().and_then(|live| live.schema().map(Arc::clone))
    }

    fn openapi(&self) -> Option<Value> {
        self.with(|version| version.source.clone())
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn prune(&self, object: &mut Value, unknown: &mut Vec<String>) {
        self.with(|version| prune_root(object, &version.schema, unknown));
    }

    fn default(&self, object: &mut Value) {
        self.with(|version| {
            drop_forbidden_nulls(object, &version.schema);
            apply_defaults(object, &version.schema);
        });
    }

    fn loaded(&self, object: &mut Value) {
        self.with(|version| conform(object, &version.schema));
    }

    fn converter(&self) -> Option<Arc<Value>> {
        self.live.load().as_ref().and_then(|live| live.definition.converter.clone())
    }

    fn version(&self, name: &str) -> Option<&'static Kind> {
        let live = self.live.load();
        live.as_ref()?.siblings.iter().find(|(version, _)| version == name).map(|(_, kind)| *kind)
    }

    fn from_storage(&self, object: &mut Value) {
        self.loaded(object);
    }

    fn to_storage(&self, object: &mut Value) {
        if let Some(live) = self.live.load().as_ref()
            && let Some(stored) = live.definition.versions.get(live.stored)
        {
            conform(object, &stored.schema);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        if self.facts.has_status {
            object.make_map().remove("status");
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        if self.facts.has_status {
            restore(new, old, "status");
        }
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore_except(new, old, &["apiVersion", "kind", "metadata", "status"]);
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            restore_meta(new, old, field);
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        self.check(object, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        self.check(new, Some(old), errors);
    }

    fn validate_status(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let path = Path::new("status");
        self.with(|version| {
            let (Some(status), Some(schema)) = (new.get("status"), version.schema.member("status")) else {
                return;
            };
            let check = ValueCheck { schema, patterns: &version.patterns };
            check_update(&check, status, old.get("status"), &path, errors);
            check_list_types(status, schema, &path, errors);
            check_embedded(status, schema, &path, errors);
            check_scale(version, new, errors);
            if let Some(rules) = version.rules.as_ref().filter(|_| errors.is_empty()) {
                // Upstream runs the root's rules too: they may speak of the status.
                check_rules(rules, &version.schema, new, Some(old), (&Path::root(), errors));
            }
        });
    }

    fn deprecation(&self) -> Option<String> {
        self.with(|version| version.deprecation.clone()).flatten()
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let is_old = |name: &str| old.is_some_and(|old| Meta(old).has_finalizer(name));
        let mut added: Vec<&str> = Meta(new).finalizers().filter(|name| !is_old(name)).collect();
        added.sort_unstable();
        added.dedup();
        added.into_iter().flat_map(finalizer_warnings).collect()
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, new: &Value, old: &Value) -> bool {
        let uncounted = |name: &str| UNCOUNTED.contains(&name) || self.facts.has_status && name == "status";
        let differs = |one: &Value, other: &Value| {
            one.as_map()
                .into_iter()
                .flatten()
                .any(|(name, value)| !uncounted(name) && other.get(name) != Some(value))
        };
        differs(new, old) || differs(old, new)
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        self.facts.columns
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let mut cells = vec![object.path(&["metadata", "name"]).cloned().unwrap_or_default()];
        self.with(|version| cells.extend(version.columns.iter().map(|column| cell(column, object, now))));
        // A face outlives its definition: a late reader still gets as many cells as there are headings.
        cells.resize(self.facts.columns.len(), Value::Null);
        cells
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        self.facts.selectable
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        let value = |label: &&'static str| {
            let path: Vec<&str> = label.split('.').collect();
            let text = match object.path(&path) {
                Some(Value::Str(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_smolstr(),
                Some(Value::Int(number)) => number.to_smolstr(),
                _ => SmolStr::default(),
            };
            (*label, text)
        };
        self.facts.selectable.iter().map(value).collect()
    }
}

/// What upstream warns of in the name of a finalizer.
fn finalizer_warnings(name: &str) -> Vec<String> {
    let told = |what: &str| format!("metadata.finalizers: {name:?}: {what}");
    let mut out: Vec<String> = names::qualified_name(name).iter().map(|fault| told(fault)).collect();
    if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        out.push(told(&format!(
            "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
        )));
    }
    out
}

impl std::fmt::Debug for CustomRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomRules").field("namespaced", &self.facts.is_namespaced).finish_non_exhaustive()
    }
}
