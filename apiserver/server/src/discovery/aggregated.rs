//! Aggregated discovery (`apidiscovery.k8s.io`): everything in two documents. Pure.

use std::sync::Arc;

use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;

use super::plain::{Group, strings};
use crate::aggregation::RemoteVersion;

/// The kinds of this server, and what other servers answer.
pub(super) type Served<'a> = (&'a [&'static Kind], &'a [Arc<RemoteVersion>]);

/// A version of another server, made of its plain discovery.
fn remote_version(remote: &RemoteVersion) -> Value {
    let listed = remote.resources.path_list(&["resources"]);
    let name = |one: &Value| one.path_str(&["name"]).unwrap_or_default().to_owned();
    let response_kind = |one: &Value| {
        let text = |field: &str, usual: &str| {
            one.path_str(&[field]).filter(|text| !text.is_empty()).unwrap_or(usual).to_owned()
        };
        response_kind(&text("group", remote.group), &text("version", remote.version), &text("kind", ""))
    };
    let resources = listed.iter().filter(|one| !name(one).contains('/')).map(|one| {
        let mut out = Value::map();
        out.set_path(&["resource"], name(one));
        out.set_path(&["responseKind"], response_kind(one));
        let is_namespaced = one.path_bool(&["namespaced"]) == Some(true);
        out.set_path(&["scope"], if is_namespaced { "Namespaced" } else { "Cluster" });
        out.set_path(&["singularResource"], one.path_str(&["singularName"]).unwrap_or_default());
        for field in ["verbs", "shortNames", "categories"] {
            if let Some(list) = one.get(field) {
                out.set_path(&[field], list.clone());
            }
        }
        let prefix = format!("{}/", name(one));
        let subresources: Vec<Value> = listed
            .iter()
            .filter_map(|sub| {
                let called = name(sub);
                let mut out = Value::map();
                out.set_path(&["subresource"], called.strip_prefix(&prefix)?);
                out.set_path(&["responseKind"], response_kind(sub));
                out.set_path(&["verbs"], sub.get("verbs").cloned().unwrap_or_default());
                Some(out)
            })
            .collect();
        if !subresources.is_empty() {
            out.set_path(&["subresources"], Value::List(subresources));
        }
        out
    });
    let mut out = Value::map();
    out.set_path(&["version"], remote.version);
    out.set_path(&["resources"], Value::List(resources.collect()));
    out.set_path(&["freshness"], if remote.is_available { "Current" } else { "Stale" });
    out
}

/// The `APIGroupDiscoveryList` of the core group (`/api`) or of all others (`/apis`).
pub(super) fn document(served: Served<'_>, groups: &[Group], core: bool, version: &str) -> Value {
    let items: Vec<Value> =
        groups.iter().filter(|g| g.name.is_empty() == core).map(|group| group_item(served, group)).collect();
    let mut out = Value::map();
    out.set_path(&["kind"], "APIGroupDiscoveryList");
    out.set_path(&["apiVersion"], format!("apidiscovery.k8s.io/{version}"));
    out.set_path(&["metadata"], Value::map());
    out.set_path(&["items"], Value::List(items));
    out
}

fn group_item((kinds, remotes): Served<'_>, group: &Group) -> Value {
    let versions = group.versions.iter().map(|version| {
        if let Some(remote) = remotes.iter().find(|one| one.group == group.name && one.version == *version) {
            return remote_version(remote);
        }
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
