//! The nft table: what leaves the pods is masqueraded, host ports lead into pods. Rendered as text, loaded by
//! `nft -f -` in one transaction; single host ports come and go as map elements.

use crate::config::Config;
use crate::failure::{Attempt, Failure, Result};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const NFT_TIMEOUT: Duration = Duration::from_secs(20);

/// One port of the node that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostPort {
    /// `tcp`, `udp` or `sctp`.
    pub(crate) protocol: String,
    /// Only this address of the node, or all.
    pub(crate) host_ip: Option<Ipv4Addr>,
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
}

impl HostPort {
    fn element(&self, pod: Ipv4Addr) -> (&'static str, String, String) {
        let target = format!("{pod} . {}", self.container_port);
        match self.host_ip {
            Some(ip) => ("hostports_at", format!("{ip} . {} . {}", self.protocol, self.host_port), target),
            None => ("hostports", format!("{} . {}", self.protocol, self.host_port), target),
        }
    }
}

/// The whole table with the host ports of all sandboxes; replaces an older one.
pub(crate) fn render_table(config: &Config, ports: &[(Ipv4Addr, HostPort)]) -> String {
    let table = config.nft_table();
    let bridge = config.bridge();
    let (pods, cluster) = (config.pod_cidr.trunc(), config.cluster_cidr.trunc());
    let elements = |map: &str| {
        let found: Vec<String> = ports
            .iter()
            .map(|(pod, port)| port.element(*pod))
            .filter(|(into, _, _)| *into == map)
            .map(|(_, key, target)| format!("{key} : {target}"))
            .collect();
        if found.is_empty() { String::new() } else { format!(" elements = {{ {} }};", found.join(", ")) }
    };
    let (anywhere, at) = (elements("hostports"), elements("hostports_at"));
    format!(
        r#"table ip {table} {{}}
delete table ip {table}
table ip {table} {{
  map hostports {{ type inet_proto . inet_service : ipv4_addr . inet_service;{anywhere} }}
  map hostports_at {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service;{at} }}
  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{bridge}" ip daddr 127.0.0.0/8 drop
  }}
  chain hostport {{
    dnat ip to ip daddr . meta l4proto . th dport map @hostports_at
    dnat ip to meta l4proto . th dport map @hostports
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto {{ tcp, udp, sctp }} fib daddr type local jump hostport
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp, sctp }} fib daddr type local jump hostport
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{bridge}" ip saddr 127.0.0.0/8 masquerade
    oifname "{bridge}" ip saddr {pods} ip daddr {pods} ct status dnat masquerade
    oifname != "{bridge}" ip saddr {pods} ip daddr != {cluster} ip daddr != 224.0.0.0/4 masquerade
  }}
}}
"#
    )
}

/// Adds a pod's host ports.
pub(crate) fn render_add(config: &Config, pod: Ipv4Addr, ports: &[HostPort]) -> String {
    render_delta(config, pod, ports, |table, map, key, target| {
        format!("add element ip {table} {map} {{ {key} : {target} }}\n")
    })
}

/// Takes a pod's host ports away.
pub(crate) fn render_delete(config: &Config, pod: Ipv4Addr, ports: &[HostPort]) -> String {
    render_delta(config, pod, ports, |table, map, key, _| {
        format!("delete element ip {table} {map} {{ {key} }}\n")
    })
}

fn render_delta(
    config: &Config,
    pod: Ipv4Addr,
    ports: &[HostPort],
    line: impl Fn(&str, &str, &str, &str) -> String,
) -> String {
    let table = config.nft_table();
    let lines = ports.iter().map(|port| {
        let (map, key, target) = port.element(pod);
        line(&table, map, &key, &target)
    });
    lines.collect()
}

/// Removes the table; fine when it is absent.
pub(crate) fn render_removal(config: &Config) -> String {
    let table = config.nft_table();
    format!("table ip {table} {{}}\ndelete table ip {table}\n")
}

/// Loads `script` in one transaction.
pub(crate) async fn load(script: &str) -> Result<()> {
    let run = async {
        let mut child = tokio::process::Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .attempt("starting nft (package nftables)")?;
        let mut stdin = child.stdin.take().ok_or_else(|| Failure::internal("nft has no standard input"))?;
        stdin.write_all(script.as_bytes()).await.attempt("writing to nft")?;
        drop(stdin);
        let output = child.wait_with_output().await.attempt("waiting for nft")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::internal(format!(
            "nft refused the rules: {}",
            said.chars().take(500).collect::<String>()
        )))
    };
    tokio::time::timeout(NFT_TIMEOUT, run).await.attempt("waiting for nft")?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Vec<HostPort> {
        vec![
            HostPort { protocol: "tcp".into(), host_ip: None, host_port: 80, container_port: 8080 },
            HostPort {
                protocol: "udp".into(),
                host_ip: Some("192.0.2.1".parse().unwrap()),
                host_port: 53,
                container_port: 5353,
            },
        ]
    }

    #[test]
    fn rendered_rules_match_the_golden_file() {
        let mut config = Config::new("/d".into(), "/r".into(), "t1", "10.9.1.0/24".parse().unwrap());
        config.cluster_cidr = "10.9.0.0/16".parse().unwrap();
        let pod = "10.9.1.5".parse().unwrap();
        let all: Vec<_> = ports().into_iter().map(|port| (pod, port)).collect();
        let text = format!(
            "# table\n{}# add\n{}# delete\n{}# removal\n{}",
            render_table(&config, &all),
            render_add(&config, pod, &ports()),
            render_delete(&config, pod, &ports()),
            render_removal(&config)
        );
        crate::golden::check("rules.nft", &text);
    }
}
