//! networking.k8s.io/v1 ServiceCIDR: a range from which services get their addresses.

use crate::formats::cidr_canonical;
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, FIELD_IS_IMMUTABLE};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// networking.k8s.io/v1 ServiceCIDR.
pub static SERVICE_CIDR: Kind = Kind {
    group: "networking.k8s.io",
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    namespaced: false,
    type_name: "networking.k8s.io/v1.ServiceCIDR",
    list_kind: "ServiceCIDRList",
    subresources: &[Body {
        group: "networking.k8s.io",
        version: "v1",
        kind: "ServiceCIDR",
        type_name: "networking.k8s.io/v1.ServiceCIDR",
    }
    .status()],
    rules: &ServiceCidr,
    storage: Some(Storage::new("servicecidrs")),
    ..STORED
};

struct ServiceCidr;

impl Rules for ServiceCidr {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let ranges = spec.get("cidrs");
        if ranges.is_empty() {
            errors.required(&ranges.path, "at least one CIDR required");
            return;
        }
        if ranges.len() > 2 {
            errors.invalid(&ranges.path, spec.value.clone(), "may only hold up to 2 values");
            return;
        }
        let families: Vec<Option<bool>> = ranges.items().map(|range| is_ipv6(range.text())).collect();
        if let [one, other] = families.as_slice()
            && (one.is_none() || other.is_none() || one == other)
        {
            let text =
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.invalid(&ranges.path, spec.value.clone(), text);
            return;
        }
        for range in ranges.items() {
            range.invalid_each(errors, cidr_canonical(range.text()));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        let path: &[&str] = &["spec", "cidrs"];
        let (ranges, before) = (At::root(new).dig(path), At::root(old).dig(path));
        // A second family may be added to a range of one.
        let added = before.len() == 1 && ranges.len() == 2;
        if !added && ranges.len() != before.len() {
            ranges.invalid(errors, FIELD_IS_IMMUTABLE);
            return;
        }
        for (range, was) in ranges.items().zip(before.items()) {
            range.unchanged(errors, &was);
        }
        if added {
            self.validate(new, errors);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] =
            &[Column::object_name(), Column::new("CIDRs", "Addresses that services may get."), table::AGE];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let ranges: Vec<&str> =
            object.path_list(&["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
        vec![table::name(object), ranges.join(",").into(), table::age(object, now)]
    }
}

/// Whether a range is one of IPv6; nothing when it is no range.
fn is_ipv6(range: &str) -> Option<bool> {
    Some(matches!(range.parse().ok()?, ipnet::IpNet::V6(_)))
}
