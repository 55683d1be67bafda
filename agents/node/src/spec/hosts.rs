//! The pod's `/etc/hosts` file, as text.

use std::fmt::Write;

use k8s_openapi::api::core::v1::HostAlias;

/// What a pod on its own network sees: loopback names, its own address, its aliases.
pub(crate) fn pod_hosts(ips: &[String], hostname: &str, domain: &str, aliases: &[HostAlias]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        if domain.is_empty() {
            line(&mut text, ip, &[hostname]);
        } else {
            line(&mut text, ip, &[&format!("{hostname}.{domain}"), hostname]);
        }
    }
    push_aliases(&mut text, aliases);
    text
}

/// What a pod on the node's network sees: the node's own file and the aliases.
pub(crate) fn node_hosts(node_file: &str, aliases: &[HostAlias]) -> String {
    let mut text = format!("# Kubernetes-managed hosts file (host network).\n{node_file}");
    push_aliases(&mut text, aliases);
    text
}

fn push_aliases(text: &mut String, aliases: &[HostAlias]) {
    if aliases.is_empty() {
        return;
    }
    text.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names: Vec<&str> = alias.hostnames.iter().flatten().map(String::as_str).collect();
        line(text, &alias.ip, &names);
    }
}

fn line(text: &mut String, ip: &str, names: &[&str]) {
    text.push_str(ip);
    for name in names {
        // Writing to a String cannot fail.
        write!(text, "\t{name}").ok();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_address_has_the_full_name_first() {
        let alias = HostAlias { ip: "10.1.1.1".into(), hostnames: Some(vec!["foo".into(), "bar".into()]) };
        let text = pod_hosts(&["10.0.0.5".into()], "web-0", "web.default.svc.cluster.local", &[alias]);
        assert!(text.contains("10.0.0.5\tweb-0.web.default.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.ends_with("# Entries added by HostAliases.\n10.1.1.1\tfoo\tbar\n"), "{text}");
    }

    #[test]
    fn host_network_keeps_the_nodes_file() {
        assert_eq!(
            node_hosts("127.0.0.1 localhost\n", &[]),
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"
        );
    }
}
