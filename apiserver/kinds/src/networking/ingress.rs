//! networking.k8s.io/v1 Ingress.

use super::backend;
use crate::shape::{Body, STORED};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules, Storage};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path, names};
use mainstay_apiserver_machinery::value::Value;
use std::net::IpAddr;
use time::OffsetDateTime;

/// networking.k8s.io/v1 Ingress.
pub static INGRESS: Kind = Kind {
    group: "networking.k8s.io",
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    type_name: "networking.k8s.io/v1.Ingress",
    list_kind: "IngressList",
    subresources: &[Body {
        group: "networking.k8s.io",
        version: "v1",
        kind: "Ingress",
        type_name: "networking.k8s.io/v1.Ingress",
    }
    .status()],
    rules: &Ingress,
    storage: Some(Storage::new("ingress")),
    ..STORED
};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const NOT_AN_ADDRESS: &str = "must be a DNS name, not an IP address";

struct Ingress;

impl Rules for Ingress {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        validate_spec(&At::root(object).get("spec"), errors);
        let class = object.path_str(&["spec", "ingressClassName"]);
        if let (Some(annotated), Some(class)) = (Meta(object).annotation(CLASS_ANNOTATION), class)
            && annotated != class
        {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            errors.invalid(&path, annotated, "must match `ingressClassName` when both are specified");
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        validate_spec(&At::root(new).get("spec"), errors);
    }

    fn validate_status(&self, new: &Value, _old: &Value, errors: &mut ErrorList) {
        for entry in At::root(new).dig(&["status", "loadBalancer", "ingress"]).items() {
            let (ip, host) = (entry.get("ip"), entry.get("hostname"));
            if !ip.is_empty() {
                ip.invalid_each(errors, names::ip(ip.text()));
            }
            if !host.is_empty() {
                host.invalid_each(errors, names::dns_subdomain(host.text()));
                if host.text().parse::<IpAddr>().is_ok() {
                    host.invalid(errors, NOT_AN_ADDRESS);
                }
            }
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_none() && Meta(new).annotation(CLASS_ANNOTATION).is_some() {
            return vec![format!(
                "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
            )];
        }
        Vec::new()
    }

    fn tracks_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Class", "Which controller serves the ingress."),
            Column::new("Hosts", "Names that requests are sent to."),
            Column::new("Address", "Where the ingress is reached."),
            Column::new("Ports", "Ports on which the ingress listens."),
            table::AGE,
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        let tls = !object.path_list(&["spec", "tls"]).is_empty();
        vec![
            table::name(object),
            class(object).into(),
            hosts(object).into(),
            addresses(object).into(),
            if tls { "80, 443" } else { "80" }.into(),
            table::age(object, now),
        ]
    }
}

fn class(object: &Value) -> &str {
    let named = object.path_str(&["spec", "ingressClassName"]);
    named.or_else(|| Meta(object).annotation(CLASS_ANNOTATION)).unwrap_or("<none>")
}

fn hosts(object: &Value) -> String {
    let rules = object.path_list(&["spec", "rules"]).iter().filter(|rule| rule.get("http").is_some());
    let hosts = rules.map(|rule| match rule.path_str(&["host"]) {
        None | Some("") => String::from("*"),
        Some(host) => host.to_owned(),
    });
    table::first_of(hosts, 3, "*")
}

fn addresses(object: &Value) -> String {
    let mut shown: Vec<&str> = Vec::new();
    for entry in object.path_list(&["status", "loadBalancer", "ingress"]) {
        let text = |field: &str| entry.path_str(&[field]).filter(|text| !text.is_empty());
        shown.extend(text("ip").or_else(|| text("hostname")));
    }
    shown.join(",")
}

fn validate_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let (default, rules) = (spec.get("defaultBackend"), spec.get("rules"));
    if rules.is_empty() && !default.is_set() {
        let text = "either `defaultBackend` or `rules` must be specified";
        errors.invalid(&spec.path, rules.value.clone(), text);
    }
    if default.is_set() {
        backend::validate(&default, errors);
    }
    for rule in rules.items() {
        let host = rule.get("host");
        if !host.is_empty() {
            if host.text().parse::<IpAddr>().is_ok() {
                host.invalid(errors, NOT_AN_ADDRESS);
            }
            validate_host(&host, errors);
        }
        let http = rule.get("http");
        if http.is_set() {
            let paths = http.get("paths");
            paths.require(errors, "");
            for path in paths.items() {
                validate_path(&path, errors);
            }
        }
    }
    for tls in spec.get("tls").items() {
        for host in tls.get("hosts").items() {
            validate_host(&host, errors);
        }
        let secret = tls.get("secretName");
        if !secret.is_empty() {
            secret.invalid_each(errors, names::dns_subdomain(secret.text()));
        }
    }
    let class = spec.get("ingressClassName");
    if class.is_set() {
        class.invalid_each(errors, names::dns_subdomain(class.text()));
    }
}

fn validate_host(host: &At<'_>, errors: &mut ErrorList) {
    let rule = if host.text().contains('*') { names::wildcard_dns_subdomain } else { names::dns_subdomain };
    host.invalid_each(errors, rule(host.text()));
}

fn validate_path(entry: &At<'_>, errors: &mut ErrorList) {
    let (kind, path) = (entry.get("pathType"), entry.get("path"));
    let text = path.text();
    let absolute = text.starts_with('/');
    match kind.text() {
        "" if !kind.is_set() => {
            errors.required(&kind.path, "pathType must be specified");
            return;
        }
        "Exact" | "Prefix" => {
            if !absolute {
                errors.invalid(&path.path, text, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| text.contains(**part)) {
                path.invalid(errors, &format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].iter().filter(|end| text.ends_with(**end)) {
                path.invalid(errors, &format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" if !text.is_empty() && !absolute => {
            path.invalid(errors, "must be an absolute path");
        }
        "ImplementationSpecific" => {}
        other => errors.not_supported(&kind.path, other, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend::validate(&entry.get("backend"), errors);
}
