//! Aggregated discovery (`apidiscovery.k8s.io`): everything in two documents. Pure.

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;

use super::plain::{Group, strings};

/// The `APIGroupDiscoveryList` of the core group (`/api`) or of all others (`/apis`).
pub(super) fn document(kinds: &[&'static Kind], groups: &[Group], core: bool, version: &str) -> Value {
    let items: Vec<Value> =
        groups.iter().filter(|g| g.name.is_empty() == core).map(|group| group_item(kinds, group)).collect();
    let mut out = Value::map();
    out.set_path(&["kind"], "APIGroupDiscoveryList");
    out.set_path(&["apiVersion"], format!("apidiscovery.k8s.io/{version}"));
    out.set_path(&["metadata"], Value::map());
    out.set_path(&["items"], Value::List(items));
    out
}

fn group_item(kinds: &[&'static Kind], group: &Group) -> Value {
    let versions = group.versions.iter().map(|version| {
        let resources = kinds
            .iter()
            .filter(|kind| kind.group == group.name && kind.version == *version)
            .map(|kind| resource(kind))
            .collect();
        let mut out = Value::map();
        out.set_path(&["version"], *version);
        out.set_path(&["resources"], Value::List(resources));
        out.set_path(&["freshness"], "Current");
        out
    });
    let mut out = Value::map();
    out.set_path(&["metadata", "creationTimestamp"], Value::Null);
    if !group.name.is_empty() {
        out.set_path(&["metadata", "name"], group.name);
    }
    out.set_path(&["versions"], Value::List(versions.collect()));
    out
}

fn resource(kind: &'static Kind) -> Value {
    let mut out = Value::map();
    out.set_path(&["resource"], kind.plural);
    out.set_path(&["responseKind"], response_kind(kind.group, kind.version, kind.kind));
    out.set_path(&["scope"], if kind.namespaced { "Namespaced" } else { "Cluster" });
    out.set_path(&["singularResource"], kind.singular);
    out.set_path(&["verbs"], strings(kind.verbs));
    if !kind.short_names.is_empty() {
        out.set_path(&["shortNames"], strings(kind.short_names));
    }
    if !kind.categories.is_empty() {
        out.set_path(&["categories"], strings(kind.categories));
    }
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            let mut out = Value::map();
            out.set_path(&["subresource"], sub.name);
            out.set_path(&["responseKind"], response_kind(sub.group, sub.version, sub.kind));
            out.set_path(&["verbs"], strings(sub.verbs));
            out
        })
        .collect();
    if !subresources.is_empty() {
        out.set_path(&["subresources"], Value::List(subresources));
    }
    out
}

fn response_kind(group: &str, version: &str, kind: &str) -> Value {
    let mut out = Value::map();
    out.set_path(&["group"], group);
    out.set_path(&["version"], version);
    out.set_path(&["kind"], kind);
    out
}
