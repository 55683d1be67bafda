//! Plain discovery: `/api`, `/apis`, `/apis/{group}`, and the resources of each version. Pure.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use sha2::{Digest, Sha256};

use super::versions_order::priority;
use crate::aggregation::RemoteVersion;

/// A group with its versions, preferred first.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) versions: Vec<&'static str>,
}

/// The groups of `kinds` in the order of first appearance, then those of other servers; the core group has the empty name.
pub(super) fn groups(kinds: &[&'static Kind], remotes: &[Arc<RemoteVersion>]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let own = kinds.iter().map(|kind| (kind.group, kind.version));
    for (name, version) in own.chain(remotes.iter().map(|remote| (remote.group, remote.version))) {
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) if group.versions.contains(&version) => {}
            Some(group) => group.versions.push(version),
            None => groups.push(Group { name, versions: vec![version] }),
        }
    }
    for group in &mut groups {
        group.versions.sort_by_key(|version| priority(version));
    }
    groups
}

/// `/api`.
pub(super) fn api_versions(groups: &[Group]) -> Value {
    let versions: Vec<&str> =
        groups.iter().filter(|g| g.name.is_empty()).flat_map(|g| g.versions.clone()).collect();
    let mut out = Value::map();
    out.set_path(&["kind"], "APIVersions");
    out.set_path(&["versions"], Value::from(versions));
    out.set_path(&["serverAddressByClientCIDRs"], Value::List(Vec::new()));
    out
}

/// `/apis`.
pub(super) fn group_list(groups: &[Group]) -> Value {
    let list: Vec<Value> =
        groups.iter().filter(|g| !g.name.is_empty()).map(|g| group_fields(g, false)).collect();
    let mut out = Value::map();
    out.set_path(&["kind"], "APIGroupList");
    out.set_path(&["apiVersion"], "v1");
    out.set_path(&["groups"], Value::List(list));
    out
}

/// `/apis/{group}`.
pub(super) fn group(group: &Group) -> Value {
    group_fields(group, true)
}

fn group_fields(group: &Group, typed: bool) -> Value {
    let version = |version: &&str| {
        let mut out = Value::map();
        out.set_path(&["groupVersion"], format!("{}/{version}", group.name));
        out.set_path(&["version"], *version);
        out
    };
    let mut out = Value::map();
    if typed {
        out.set_path(&["kind"], "APIGroup");
        out.set_path(&["apiVersion"], "v1");
    }
    out.set_path(&["name"], group.name);
    out.set_path(&["versions"], Value::List(group.versions.iter().map(version).collect()));
    if let Some(preferred) = group.versions.first() {
        out.set_path(&["preferredVersion"], version(preferred));
    }
    out
}

/// `/api/v1`, `/apis/{group}/{version}`.
pub(super) fn resources(kinds: &[&'static Kind], group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group == group && kind.version == version) {
        list.push(resource(kind));
        for sub in kind.subresources {
            let mut out = Value::map();
            out.set_path(&["name"], format!("{}/{}", kind.plural, sub.name));
            out.set_path(&["singularName"], "");
            out.set_path(&["namespaced"], kind.namespaced);
            if (sub.group, sub.version) != (kind.group, kind.version) {
                out.set_path(&["group"], sub.group);
                out.set_path(&["version"], sub.version);
            }
            out.set_path(&["kind"], sub.kind);
            out.set_path(&["verbs"], strings(sub.verbs));
            list.push(out);
        }
    }
    list.sort_by(|a, b| a.path_str(&["name"]).cmp(&b.path_str(&["name"])));
    let mut out = Value::map();
    out.set_path(&["kind"], "APIResourceList");
    if !group.is_empty() {
        out.set_path(&["apiVersion"], "v1");
    }
    out.set_path(
        &["groupVersion"],
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") },
    );
    out.set_path(&["resources"], Value::List(list));
    out
}

fn resource(kind: &'static Kind) -> Value {
    let mut out = Value::map();
    out.set_path(&["name"], kind.plural);
    out.set_path(&["singularName"], kind.singular);
    out.set_path(&["namespaced"], kind.namespaced);
    out.set_path(&["kind"], kind.kind);
    out.set_path(&["verbs"], strings(kind.verbs));
    if !kind.short_names.is_empty() {
        out.set_path(&["shortNames"], strings(kind.short_names));
    }
    if !kind.categories.is_empty() {
        out.set_path(&["categories"], strings(kind.categories));
    }
    if kind.is_stored() {
        out.set_path(&["storageVersionHash"], storage_version_hash(kind.stored_kind()));
    }
    out
}

pub(super) fn strings(list: &[&str]) -> Value {
    Value::List(list.iter().map(|text| Value::from(*text)).collect())
}

/// Upstream's hash of the stored group, version and kind: eight bytes of SHA-256.
fn storage_version_hash(kind: &Kind) -> String {
    let digest = Sha256::digest(format!("{}/{}/{}", kind.group, kind.version, kind.kind));
    STANDARD.encode(digest.get(..8).unwrap_or_default())
}
