//! networking.k8s.io/v1 NetworkPolicy.

use crate::deprecated::network;
use crate::formats::cidr;
use crate::shape::STORED;
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::validation::{At, ErrorList, names, validate_label_selector};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

/// networking.k8s.io/v1 NetworkPolicy.
pub static NETWORK_POLICY: Kind = Kind {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    type_name: "networking.k8s.io/v1.NetworkPolicy",
    list_kind: "NetworkPolicyList",
    rules: &NetworkPolicy,
    storage: Some(Storage::new("networkpolicies")),
    ..STORED
};

const TYPES: &[&str] = &["Ingress", "Egress"];

struct NetworkPolicy;

impl Rules for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        let spec = object.make_map().get_or_insert_map("spec");
        if spec.get("policyTypes").is_none_or(Value::is_empty) {
            let egress = spec.get("egress").is_some_and(|rules| !rules.is_empty());
            let types: &[&str] = if egress { TYPES } else { &["Ingress"] };
            spec.insert("policyTypes", types.iter().map(|one| Value::from(*one)).collect::<Value>());
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        let spec = At::root(new).get("spec");
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for peer in spec.get(rules).items().flat_map(|rule| rule.get(peers).items()) {
                let block = peer.get("ipBlock");
                if block.is_set() {
                    network(&block.get("cidr"), &mut out);
                    block.get("except").items().for_each(|one| network(&one, &mut out));
                }
            }
        }
        out
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let selector = spec.get("podSelector");
        validate_label_selector(selector.value, true, &selector.path, errors);
        for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in spec.get(rules).items() {
                for port in rule.get("ports").items() {
                    validate_port(&port, errors);
                }
                for peer in rule.get(peers).items() {
                    validate_peer(&peer, errors);
                }
            }
        }
        let types = spec.get("policyTypes");
        if types.len() > TYPES.len() {
            types.invalid(errors, "may not specify more than two policyTypes");
            return;
        }
        for one in types.items() {
            one.one_of(errors, TYPES);
        }
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Pod-Selector", "Which pods the policy is about."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let selector = table::label_selector(object.path(&["spec", "podSelector"]));
        vec![table::name(object), selector.into(), table::age(object, now)]
    }
}

fn validate_port(port: &At<'_>, errors: &mut ErrorList) {
    let protocol = port.get("protocol");
    if protocol.is_set() {
        protocol.one_of(errors, &["TCP", "UDP", "SCTP"]);
    }
    let (first, last) = (port.get("port"), port.get("endPort"));
    match first.value {
        Value::Int(number) => {
            first.invalid_each(errors, names::port_number(*number));
            if let Some(end) = last.int() {
                if end < *number {
                    last.invalid(errors, "must be greater than or equal to `port`");
                }
                last.invalid_each(errors, names::port_number(end));
            }
        }
        Value::Str(name) => {
            if last.is_set() {
                last.invalid(errors, "may not be specified when `port` is non-numeric");
            }
            first.invalid_each(errors, names::port_name(name));
        }
        _ if last.is_set() => last.invalid(errors, "may not be specified when `port` is not specified"),
        _ => {}
    }
}

fn validate_peer(peer: &At<'_>, errors: &mut ErrorList) {
    let mut peers = 0;
    for field in ["podSelector", "namespaceSelector"] {
        let selector = peer.get(field);
        if selector.is_set() {
            peers += 1;
            validate_label_selector(selector.value, true, &selector.path, errors);
        }
    }
    let block = peer.get("ipBlock");
    if block.is_set() {
        peers += 1;
        validate_block(&block, errors);
    }
    if peers == 0 {
        errors.required(&peer.path, "must specify a peer");
    } else if peers > 1 && block.is_set() {
        errors.forbidden(&peer.path, "may not specify both ipBlock and another peer");
    }
}

fn validate_block(block: &At<'_>, errors: &mut ErrorList) {
    let range = block.get("cidr");
    if !range.require(errors, "") {
        return;
    }
    range.invalid_each(errors, cidr(range.text()));
    let Ok(whole) = range.text().parse::<ipnet::IpNet>() else { return };
    for except in block.get("except").items() {
        except.invalid_each(errors, cidr(except.text()));
        let Ok(part) = except.text().parse::<ipnet::IpNet>() else { continue };
        if !whole.contains(&part.addr()) || whole.prefix_len() >= part.prefix_len() {
            except.invalid(errors, "must be a strict subset of `cidr`");
        }
    }
}
