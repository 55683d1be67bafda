//! Warnings about Services that are valid but hardly meant so. Pure.

use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::At;
use mainstay_apiserver_machinery::value::Value;

use super::rules::has_cluster_ip;
use crate::deprecated::{address, network};

const OLD_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";

/// Texts for `Warning` headers.
pub(super) fn warnings(service: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if Meta(service).annotation(OLD_HINTS).is_some() {
        out.push(format!("annotation {OLD_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    let spec = At::root(service).get("spec");
    let (kind, cluster_ip) = (spec.text_of("type"), spec.text_of("clusterIP"));
    if has_cluster_ip(kind) && !matches!(cluster_ip, "" | "None") {
        spec.get("clusterIPs").items().for_each(|ip| address(&ip, &mut out));
    }
    let externals = spec.get("externalIPs");
    let is_headless = kind == "ClusterIP" && cluster_ip == "None";
    if is_headless {
        ignored_when_headless(&spec, &mut out);
    }
    externals.items().for_each(|ip| address(&ip, &mut out));
    if !externals.is_empty() && !is_headless && kind != "ExternalName" {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    if !spec.text_of("loadBalancerIP").is_empty() {
        address(&spec.get("loadBalancerIP"), &mut out);
    }
    spec.get("loadBalancerSourceRanges").items().for_each(|range| network(&range, &mut out));
    if kind == "ExternalName" && !externals.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if kind != "ExternalName" && !spec.text_of("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.text_of("trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
    out
}

fn ignored_when_headless(spec: &At<'_>, out: &mut Vec<String>) {
    let ignored = [
        ("loadBalancerIP", !spec.text_of("loadBalancerIP").is_empty()),
        ("externalIPs", !spec.get("externalIPs").is_empty()),
        // With a capital letter, as upstream.
        ("SessionAffinity", spec.text_of("sessionAffinity") != "None"),
    ];
    for (field, _) in ignored.into_iter().filter(|(_, is_set)| *is_set) {
        out.push(format!("spec.{field} is ignored for headless services"));
    }
}
