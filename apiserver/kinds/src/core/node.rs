//! core/v1 Node.

use crate::formats::validate_unique;
use crate::gates;
use crate::shape::{Body, PROXY_VERBS, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage, restore};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, names};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Quantity;
use smol_str::SmolStr;
use std::collections::{BTreeSet, HashSet};
use time::OffsetDateTime;

/// core/v1 Node.
pub static NODE: Kind = Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    type_name: "core/v1.Node",
    list_kind: "NodeList",
    subresources: &[
        Body::core("NodeProxyOptions", "core/v1.NodeProxyOptions").connect("proxy", PROXY_VERBS),
        Body::core("Node", "core/v1.Node").status(),
    ],
    rules: &Node,
    storage: Some(Storage::new("minions")),
    ..STORED
};

struct Node;

impl Rules for Node {
    fn default(&self, object: &mut Value) {
        let Some(capacity) = object.path(&["status", "capacity"]).cloned() else { return };
        if object.path(&["status", "allocatable"]).is_none() {
            object.set_path(&["status", "allocatable"], capacity);
        }
    }

    fn drop_gated(&self, new: &mut Value, old: Option<&Value>) {
        // Of the feature `InPlacePodVerticalScalingSchedulerPreemption`.
        gates::drop_fields(new, old, &[&["spec", "podPreemptionPolicy"]]);
    }

    // A node agent registers its node with a status.
    fn prepare_create(&self, _object: &mut Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let node = At::root(object);
        validate_taints(&taints(&node), errors);
        validate_cidrs(&node.get("spec"), errors);
        validate_resources(&node.get("status"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let (node, before) = (At::root(new), At::root(old));
        validate_taints(&taints(&node), errors);
        let (spec, was) = (node.get("spec"), before.get("spec"));
        let changed =
            |field: &str| !was.get(field).is_empty() && spec.get(field).value != was.get(field).value;
        let fixed = |field: &str| format!("node updates may not change {field} except from \"\" to valid");
        if changed("podCIDR") || changed("podCIDRs") {
            errors.forbidden(&spec.path.child("podCIDRs"), &fixed("podCIDR"));
        }
        if changed("providerID") {
            errors.forbidden(&spec.path.child("providerID"), &fixed("providerID"));
        }
        if spec.text_of("externalID") != was.text_of("externalID") {
            errors.forbidden(&spec.path.child("externalID"), "may not be updated");
        }
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        restore(new, old, "spec");
        self.default(new);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        let status = At::root(new).get("status");
        validate_resources(&status, errors);
        let mut seen = HashSet::new();
        for address in status.get("addresses").items() {
            if !seen.insert((address.text_of("type"), address.text_of("address"))) {
                errors.duplicate(&address.path, address.value.clone());
            }
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let spec = At::root(new).get("spec");
        let mut out = Vec::new();
        if spec.has("configSource") {
            out.push("spec.configSource: the feature is removed".into());
        }
        if !spec.get("externalID").is_empty() {
            out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        out
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Status", "Whether the node is ready and takes pods."),
            Column::new("Roles", "Roles that the node's labels state."),
            Column::new("Age", "Time since the object was created."),
            Column::new("Version", "Version of the node agent."),
            Column::new("Internal-IP", "First internal address.").wide(),
            Column::new("External-IP", "First external address.").wide(),
            Column::new("OS-Image", "Operating system.").wide(),
            Column::new("Kernel-Version", "Kernel version.").wide(),
            Column::new("Container-Runtime", "Name and version of the container runtime.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let info = |field: &str, absent| table::text_or(object, &["status", "nodeInfo", field], absent);
        vec![
            table::name(object),
            condition(object).into(),
            roles(object).into(),
            table::age(object, now),
            info("kubeletVersion", ""),
            address(object, "InternalIP").into(),
            address(object, "ExternalIP").into(),
            info("osImage", "<unknown>"),
            info("kernelVersion", "<unknown>"),
            info("containerRuntimeVersion", "<unknown>"),
        ]
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, SmolStr)> {
        let unschedulable = object.path_bool(&["spec", "unschedulable"]).unwrap_or_default();
        vec![("spec.unschedulable", if unschedulable { "true" } else { "false" }.into())]
    }
}

fn condition(node: &Value) -> String {
    let ready =
        node.path_list(&["status", "conditions"]).iter().find(|c| c.path_str(&["type"]) == Some("Ready"));
    let mut parts = vec![match ready.and_then(|condition| condition.path_str(&["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if node.path_bool(&["spec", "unschedulable"]).unwrap_or_default() {
        parts.push("SchedulingDisabled");
    }
    parts.join(",")
}

fn roles(node: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in Meta(node).label_pairs() {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => drop(roles.insert(role)),
            None if key == "kubernetes.io/role" && !value.is_empty() => drop(roles.insert(value)),
            _ => {}
        }
    }
    if roles.is_empty() {
        return String::from("<none>");
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    node.path_list(&["status", "addresses"])
        .iter()
        .find(|address| address.path_str(&["type"]) == Some(kind))
        .and_then(|address| address.path_str(&["address"]))
        .unwrap_or("<none>")
}

/// The taints; upstream shows their errors below `metadata`.
fn taints<'a>(node: &At<'a>) -> At<'a> {
    At::new(node.dig(&["spec", "taints"]).value, Path::new("metadata").child("taints"))
}

fn validate_taints(taints: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for taint in taints.items() {
        let key = taint.get("key");
        key.invalid_each(errors, names::qualified_name(key.text()));
        let value = taint.get("value");
        let faults = names::label_value(value.text());
        if !faults.is_empty() {
            value.invalid(errors, &faults.join(";"));
        }
        let effect = taint.get("effect");
        match effect.text() {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => errors.required(&effect.path, ""),
            other => {
                errors.not_supported(&effect.path, other, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
            }
        }
        if !seen.insert((key.text(), effect.text())) {
            errors.duplicate_with(
                &taint.path,
                taint.value.clone(),
                "taints must be unique by key and effect pair",
            );
        }
    }
}

fn validate_cidrs(spec: &At<'_>, errors: &mut ErrorList) {
    for cidr in spec.get("podCIDRs").items() {
        if cidr.text().parse::<ipnet::IpNet>().is_err() {
            cidr.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
    let all = spec.get("podCIDRs");
    let families: HashSet<bool> = all.items().map(|cidr| cidr.text().contains(':')).collect();
    if all.len() > families.len() {
        all.invalid(errors, "may specify no more than one CIDR for each IP family");
    }
    validate_unique(&all, errors);
}

fn validate_resources(status: &At<'_>, errors: &mut ErrorList) {
    for field in ["capacity", "allocatable"] {
        for (name, quantity) in status.get(field).entries() {
            errors.invalid_each(&quantity.path, name, names::qualified_name(name));
            match quantity.text().parse::<Quantity>() {
                Ok(parsed) if !parsed.is_negative() => {}
                Ok(_) => quantity.invalid(errors, "must be greater than or equal to 0"),
                Err(error) => quantity.invalid(errors, &error.to_string()),
            }
        }
    }
}
