//! Which name servers, search paths and options a pod's `resolv.conf` gets (dnsPolicy and dnsConfig).

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};

/// A resolver configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DnsConfig {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

/// What the cluster offers.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterDns {
    pub servers: Vec<String>,
    pub domain: String,
}

/// Upstream's limits: what is beyond them is cut off.
const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

/// Parses the node's own `resolv.conf`.
pub(crate) fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let rest = |words: std::str::SplitWhitespace<'_>| words.map(str::to_owned).collect::<Vec<_>>();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => config.searches = rest(words),
            Some("options") => config.options = rest(words),
            _ => {}
        }
    }
    config
}

/// The pod's resolver configuration.
pub(crate) fn pod_dns(pod: &Pod, cluster: &ClusterDns, node: &DnsConfig) -> DnsConfig {
    let Some(spec) = &pod.spec else { return DnsConfig::default() };
    let host_network = spec.host_network == Some(true);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let use_cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !host_network,
        _ => false,
    } && !cluster.servers.is_empty();
    let base = if policy == "None" {
        DnsConfig::default()
    } else if use_cluster {
        cluster_first(pod.metadata.namespace.as_deref().unwrap_or("default"), cluster, node)
    } else {
        node.clone()
    };
    limit(merge(base, spec.dns_config.as_ref()))
}

fn cluster_first(namespace: &str, cluster: &ClusterDns, node: &DnsConfig) -> DnsConfig {
    let domain = &cluster.domain;
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    push_new(&mut searches, &node.searches);
    DnsConfig { servers: cluster.servers.clone(), searches, options: vec!["ndots:5".to_owned()] }
}

fn merge(mut base: DnsConfig, own: Option<&PodDNSConfig>) -> DnsConfig {
    let Some(own) = own else { return base };
    push_new(&mut base.servers, own.nameservers.as_deref().unwrap_or_default());
    push_new(&mut base.searches, own.searches.as_deref().unwrap_or_default());
    for option in own.options.iter().flatten() {
        let Some(name) = &option.name else { continue };
        base.options.retain(|o| o.split(':').next() != Some(name.as_str()));
        base.options.push(match &option.value {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        });
    }
    base
}

fn push_new(into: &mut Vec<String>, more: &[String]) {
    for item in more {
        if !into.contains(item) {
            into.push(item.clone());
        }
    }
}

fn limit(mut config: DnsConfig) -> DnsConfig {
    config.servers.truncate(SERVERS_MAX);
    config.searches.truncate(SEARCHES_MAX);
    while config.searches.iter().map(|s| s.len() + 1).sum::<usize>() > SEARCH_CHARS_MAX + 1 {
        config.searches.pop();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &serde_json::Value) -> Pod {
        serde_json::from_value(
            serde_json::json!({"metadata": {"name": "p", "namespace": "ns1"}, "spec": spec}),
        )
        .unwrap()
    }

    fn cluster() -> ClusterDns {
        ClusterDns { servers: vec!["10.96.0.10".into()], domain: "cluster.local".into() }
    }

    fn node() -> DnsConfig {
        parse_resolv_conf("# x\nnameserver 1.1.1.1 # c\nsearch lan corp\noptions edns0\n")
    }

    #[test]
    fn cluster_first_puts_the_cluster_before_the_nodes_searches() {
        let dns = pod_dns(&pod(&serde_json::json!({"containers": []})), &cluster(), &node());
        assert_eq!(dns.servers, ["10.96.0.10"]);
        assert_eq!(
            dns.searches,
            ["ns1.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan", "corp"]
        );
        assert_eq!(dns.options, ["ndots:5"]);
    }

    #[test]
    fn host_network_falls_back_to_the_node_unless_asked() {
        let on_host = pod(&serde_json::json!({"containers": [], "hostNetwork": true}));
        assert_eq!(pod_dns(&on_host, &cluster(), &node()), node());
        let asked = pod(
            &serde_json::json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
        );
        assert_eq!(pod_dns(&asked, &cluster(), &node()).servers, ["10.96.0.10"]);
    }

    #[test]
    fn pod_options_override_and_none_starts_empty() {
        let own = pod(&serde_json::json!({"containers": [], "dnsPolicy": "ClusterFirst", "dnsConfig": {
            "nameservers": ["9.9.9.9"], "searches": ["x.y"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}));
        let dns = pod_dns(&own, &cluster(), &node());
        assert_eq!(dns.servers, ["10.96.0.10", "9.9.9.9"]);
        assert_eq!(dns.options, ["ndots:2", "edns0"]);
        let none = pod(
            &serde_json::json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"]}}),
        );
        assert_eq!(pod_dns(&none, &cluster(), &node()).servers, ["9.9.9.9"]);
    }
}
