//! Typed views of `apiVersion`, `kind` and `metadata` of an object in flight. A view reads what stands there;
//! wrong shapes read as absent (decoding has already refused them).

use crate::value::{Map, Value};
use mainstay_proto_api::Gvk;
use smol_str::SmolStr;

/// Read view of an object's type and metadata.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a>(pub &'a Value);

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnerReference<'a> {
    /// The owner's `group/version`, or `version` in the core group.
    pub api_version: &'a str,
    /// The owner's kind.
    pub kind: &'a str,
    /// The owner's name.
    pub name: &'a str,
    /// The owner's uid.
    pub uid: &'a str,
    /// Whether the owner manages this object.
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

impl<'a> Meta<'a> {
    /// The view of `object`.
    pub const fn new(object: &'a Value) -> Self {
        Self(object)
    }

    fn field(self, name: &str) -> Option<&'a Value> {
        self.0.get("metadata")?.get(name)
    }

    fn text(self, name: &str) -> &'a str {
        self.field(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn optional(self, name: &str) -> Option<&'a str> {
        self.field(name).and_then(Value::as_str).filter(|s| !s.is_empty())
    }

    /// `apiVersion`; empty when absent.
    pub fn api_version(self) -> &'a str {
        self.0.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
    }

    /// `kind`; empty when absent.
    pub fn kind(self) -> &'a str {
        self.0.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// Group, version and kind as the object states them.
    pub fn gvk(self) -> Gvk {
        Gvk::from_api_version(self.api_version(), self.kind())
    }

    /// `metadata.name`; empty when absent.
    pub fn name(self) -> &'a str {
        self.text("name")
    }

    /// `metadata.generateName`; empty when absent.
    pub fn generate_name(self) -> &'a str {
        self.text("generateName")
    }

    /// `metadata.namespace`; empty when absent.
    pub fn namespace(self) -> &'a str {
        self.text("namespace")
    }

    /// `metadata.uid`; empty when absent.
    pub fn uid(self) -> &'a str {
        self.text("uid")
    }

    /// `metadata.resourceVersion`; empty when absent.
    pub fn resource_version(self) -> &'a str {
        self.text("resourceVersion")
    }

    /// `metadata.generation`; 0 when absent.
    pub fn generation(self) -> i64 {
        self.field("generation").and_then(Value::as_i64).unwrap_or_default()
    }

    /// `metadata.labels`.
    pub fn labels(self) -> Option<&'a Map> {
        self.field("labels")?.as_map()
    }

    /// One label's value.
    pub fn label(self, key: &str) -> Option<&'a str> {
        self.labels()?.get(key)?.as_str()
    }

    /// Labels as pairs in key order.
    pub fn label_pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.labels().into_iter().flatten().filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
    }

    /// `metadata.annotations`.
    pub fn annotations(self) -> Option<&'a Map> {
        self.field("annotations")?.as_map()
    }

    /// One annotation's value.
    pub fn annotation(self, key: &str) -> Option<&'a str> {
        self.annotations()?.get(key)?.as_str()
    }

    /// `metadata.finalizers`, in order.
    pub fn finalizers(self) -> impl Iterator<Item = &'a str> {
        self.field("finalizers").and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_str)
    }

    /// Whether `metadata.finalizers` holds `name`.
    pub fn has_finalizer(self, name: &str) -> bool {
        self.finalizers().any(|f| f == name)
    }

    /// `metadata.ownerReferences`, in order.
    pub fn owner_references(self) -> impl Iterator<Item = OwnerReference<'a>> {
        let list = self.field("ownerReferences").and_then(Value::as_list).unwrap_or_default();
        list.iter().map(|owner| {
            let text = |name| owner.get(name).and_then(Value::as_str).unwrap_or_default();
            let flag = |name| owner.get(name).and_then(Value::as_bool).unwrap_or_default();
            OwnerReference {
                api_version: text("apiVersion"),
                kind: text("kind"),
                name: text("name"),
                uid: text("uid"),
                controller: flag("controller"),
                block_owner_deletion: flag("blockOwnerDeletion"),
            }
        })
    }

    /// The owner reference marked as the managing controller.
    pub fn controller(self) -> Option<OwnerReference<'a>> {
        self.owner_references().find(|owner| owner.controller)
    }

    /// `metadata.creationTimestamp` as RFC 3339 text.
    pub fn creation_timestamp(self) -> Option<&'a str> {
        self.optional("creationTimestamp")
    }

    /// `metadata.deletionTimestamp` as RFC 3339 text; present while the object is being deleted.
    pub fn deletion_timestamp(self) -> Option<&'a str> {
        self.optional("deletionTimestamp")
    }

    /// Whether the object is being deleted.
    pub fn is_deleting(self) -> bool {
        self.deletion_timestamp().is_some()
    }

    /// `metadata.deletionGracePeriodSeconds`.
    pub fn deletion_grace_period_seconds(self) -> Option<i64> {
        self.field("deletionGracePeriodSeconds")?.as_i64()
    }

    /// `metadata.managedFields`, in order.
    pub fn managed_fields(self) -> &'a [Value] {
        self.field("managedFields").and_then(Value::as_list).unwrap_or_default()
    }
}

/// Write view of an object's type and metadata.
#[derive(Debug)]
pub struct MetaMut<'a>(pub &'a mut Value);

impl<'a> MetaMut<'a> {
    /// The view of `object`.
    pub const fn new(object: &'a mut Value) -> Self {
        Self(object)
    }

    /// The same object, to read.
    pub fn read(&self) -> Meta<'_> {
        Meta(self.0)
    }

    /// `metadata`, made when absent.
    pub fn map(&mut self) -> &mut Map {
        self.0.make_map().get_or_insert_map("metadata")
    }

    /// Sets `apiVersion` and `kind`.
    pub fn set_type(&mut self, api_version: &str, kind: &str) {
        let map = self.0.make_map();
        map.insert("apiVersion", api_version);
        map.insert("kind", kind);
    }

    fn set_text(&mut self, name: &'static str, value: &str) {
        if value.is_empty() {
            self.map().remove(name);
        } else {
            self.map().insert(SmolStr::new_static(name), value);
        }
    }

    /// Sets `metadata.name`; empty removes it.
    pub fn set_name(&mut self, name: &str) {
        self.set_text("name", name);
    }

    /// Sets `metadata.namespace`; empty removes it.
    pub fn set_namespace(&mut self, namespace: &str) {
        self.set_text("namespace", namespace);
    }

    /// Sets `metadata.uid`; empty removes it.
    pub fn set_uid(&mut self, uid: &str) {
        self.set_text("uid", uid);
    }

    /// Sets `metadata.resourceVersion`; empty removes it.
    pub fn set_resource_version(&mut self, resource_version: &str) {
        self.set_text("resourceVersion", resource_version);
    }

    /// Sets `metadata.generation`; 0 removes it.
    pub fn set_generation(&mut self, generation: i64) {
        if generation == 0 {
            self.map().remove("generation");
        } else {
            self.map().insert("generation", generation);
        }
    }

    /// Sets `metadata.creationTimestamp` (RFC 3339, seconds).
    pub fn set_creation_timestamp(&mut self, time: &str) {
        self.set_text("creationTimestamp", time);
    }

    /// Sets `metadata.deletionTimestamp` and the grace period; `None` removes both.
    pub fn set_deletion(&mut self, deletion: Option<(&str, i64)>) {
        let map = self.map();
        if let Some((time, grace_seconds)) = deletion {
            map.insert("deletionTimestamp", time);
            map.insert("deletionGracePeriodSeconds", grace_seconds);
        } else {
            map.remove("deletionTimestamp");
            map.remove("deletionGracePeriodSeconds");
        }
    }

    /// Sets one label.
    pub fn set_label(&mut self, key: &str, value: &str) {
        self.map().get_or_insert_map("labels").insert(key, value);
    }

    /// Sets one annotation.
    pub fn set_annotation(&mut self, key: &str, value: &str) {
        self.map().get_or_insert_map("annotations").insert(key, value);
    }

    /// Sets `metadata.finalizers`; an empty list removes the field.
    pub fn set_finalizers<'s>(&mut self, finalizers: impl IntoIterator<Item = &'s str>) {
        let list: Vec<Value> = finalizers.into_iter().map(Value::from).collect();
        if list.is_empty() {
            self.map().remove("finalizers");
        } else {
            self.map().insert("finalizers", list);
        }
    }

    /// Removes `metadata.<name>`, returning what stood there.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.get_mut("metadata")?.as_map_mut()?.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn a_view_reads_what_a_writer_set() {
        let mut object = value!({});
        let mut meta = MetaMut(&mut object);
        meta.set_type("apps/v1", "Deployment");
        meta.set_name("web");
        meta.set_label("app", "web");
        meta.set_finalizers(["a/b"]);
        meta.set_generation(3);
        meta.set_deletion(Some(("2026-01-01T00:00:00Z", 30)));
        let meta = Meta(&object);
        assert_eq!(meta.gvk(), Gvk::new("apps", "v1", "Deployment"));
        assert_eq!((meta.name(), meta.namespace(), meta.generation()), ("web", "", 3));
        assert_eq!(meta.label("app"), Some("web"));
        assert!(meta.is_deleting() && meta.has_finalizer("a/b"));
        MetaMut(&mut object).set_deletion(None);
        assert!(!Meta(&object).is_deleting());
    }

    #[test]
    fn the_controller_is_the_owner_marked_so() {
        let object = value!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "2", "controller": true},
        ]}});
        let owner = Meta(&object).controller().unwrap();
        assert_eq!((owner.kind, owner.uid, owner.block_owner_deletion), ("ReplicaSet", "2", false));
    }
}
