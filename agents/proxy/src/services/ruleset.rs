//! An nft table as data, and its text for a full load.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A named verdict map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Map {
    /// Address, protocol and port of a Service → its chain.
    ServiceIps,
    /// Protocol and port on the node → the Service's chain.
    NodePorts,
    /// Address, protocol and port of a Service that has no endpoints → a rejection.
    NoEndpoints,
    /// Protocol and port on the node of a Service that has no endpoints → a rejection.
    NoEndpointNodePorts,
}

impl Map {
    pub(crate) const ALL: [Self; 4] =
        [Self::ServiceIps, Self::NodePorts, Self::NoEndpoints, Self::NoEndpointNodePorts];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ServiceIps => "service-ips",
            Self::NodePorts => "node-ports",
            Self::NoEndpoints => "no-endpoints",
            Self::NoEndpointNodePorts => "no-endpoint-node-ports",
        }
    }

    fn key_type(self) -> &'static str {
        match self {
            Self::ServiceIps | Self::NoEndpoints => "ipv4_addr . inet_proto . inet_service",
            Self::NodePorts | Self::NoEndpointNodePorts => "inet_proto . inet_service",
        }
    }
}

/// Everything in the table that depends on Services: chains, map elements, and the sets of session affinity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Chain name → its rules.
    pub(crate) chains: BTreeMap<String, Vec<String>>,
    /// Map and key → verdict.
    pub(crate) elements: BTreeMap<(Map, String), String>,
    /// Set name → its body.
    pub(crate) sets: BTreeMap<String, String>,
}

/// The mark of packets that leave with the node's address, the bit upstream uses.
pub(crate) const MASQUERADE_MARK: &str = "0x4000";

impl Ruleset {
    /// A transaction that replaces the whole table, whatever it held.
    pub fn full_load(&self, table: &str) -> String {
        let mut text = format!("table ip {table} {{\n}}\ndelete table ip {table}\ntable ip {table} {{\n");
        for (name, body) in &self.sets {
            push(&mut text, format_args!("  set {name} {{ {body} }}\n"));
        }
        text.push_str(FIXED_CHAINS_BEFORE);
        for (name, rules) in &self.chains {
            push(&mut text, format_args!("  chain {name} {{\n"));
            for rule in rules {
                push(&mut text, format_args!("    {rule}\n"));
            }
            text.push_str("  }\n");
        }
        for map in Map::ALL {
            push(&mut text, format_args!("  map {} {{\n    type {} : verdict\n", map.name(), map.key_type()));
            let entries: Vec<_> = self.of(map).map(|(key, verdict)| format!("{key} : {verdict}")).collect();
            if !entries.is_empty() {
                push(&mut text, format_args!("    elements = {{ {} }}\n", entries.join(", ")));
            }
            text.push_str("  }\n");
        }
        text.push_str(FIXED_CHAINS_AFTER);
        text.push_str("}\n");
        text
    }

    fn of(&self, map: Map) -> impl Iterator<Item = (&String, &String)> {
        self.elements.iter().filter(move |((of, _), _)| *of == map).map(|((_, key), verdict)| (key, verdict))
    }
}

/// Writing to a `String` cannot fail.
pub(crate) fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).unwrap_or_default();
}

const FIXED_CHAINS_BEFORE: &str = "  chain mark-for-masquerade {
    meta mark set meta mark or 0x4000
  }
  chain reject-no-endpoints {
    reject with icmp host-unreachable
  }
";

/// The output hook takes priority -100 as a number: the name `dstnat` is refused there.
const FIXED_CHAINS_AFTER: &str = "  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @node-ports
  }
  chain refuse {
    ip daddr . meta l4proto . th dport vmap @no-endpoints
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @no-endpoint-node-ports
  }
  chain nat-prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }
  chain nat-output {
    type nat hook output priority -100; policy accept;
    jump services
  }
  chain nat-postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    meta mark and 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }
  chain filter-prerouting {
    type filter hook prerouting priority -110; policy accept;
    ct state new jump refuse
  }
  chain filter-output {
    type filter hook output priority -110; policy accept;
    ct state new jump refuse
  }
";
