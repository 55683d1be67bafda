//! networking.k8s.io/v1 IPAddress: an address that an object holds.

use crate::formats::validate_segment;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, NameRule, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// networking.k8s.io/v1 IPAddress.
pub static IP_ADDRESS: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    namespaced: false,
    type_name: "networking.k8s.io/v1.IPAddress",
    list_kind: "IPAddressList",
    rules: &IpAddress,
    storage: Some(Storage::new("ipaddresses")),
    ..STORED
};

struct IpAddress;

impl Rules for IpAddress {
    // The name is an address, which `validate` checks.
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let address = At::root(object);
        let name = address.dig(&["metadata", "name"]);
        name.invalid_each(errors, names::ip_canonical(name.text()));
        let parent = address.dig(&["spec", "parentRef"]);
        if !parent.is_set() {
            errors.required(&parent.path, "");
            return;
        }
        let (group, namespace) = (parent.get("group"), parent.get("namespace"));
        if !group.is_empty() {
            group.invalid_each(errors, names::dns_subdomain(group.text()));
        }
        validate_segment(&parent.get("resource"), "", errors);
        validate_segment(&parent.get("name"), "", errors);
        if !namespace.is_empty() {
            namespace.invalid_each(errors, names::path_segment(namespace.text()));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let parent: &[&str] = &["spec", "parentRef"];
        At::root(new).dig(parent).unchanged(errors, &At::root(old).dig(parent));
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("ParentRef", "The object that holds the address."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let text = |field: &str| object.path_str(&["spec", "parentRef", field]).unwrap_or_default();
        let mut parent = text("resource").to_owned();
        if !text("group").is_empty() {
            parent = format!("{parent}.{}", text("group"));
        }
        for part in ["namespace", "name"].map(text).iter().filter(|part| !part.is_empty()) {
            parent = format!("{parent}/{part}");
        }
        vec![table::name(object), parent.into(), table::age(object, now)]
    }
}
