//! What is warned of in the ports of containers, which a pod's containers share.

use crate::pod_spec::annotations::containers;
use mainstay_apiserver_machinery::validation::{At, Path, quote};
use std::collections::HashMap;

pub(super) fn warn(spec: &At<'_>, out: &mut Vec<String>) {
    let mut known = HashMap::new();
    for container in containers(spec) {
        shared(&container.get("ports"), &mut known, out);
    }
    let mut named: HashMap<&str, Path> = HashMap::new();
    for port in containers(spec).flat_map(|container| container.get("ports").items()) {
        let name = port.text_of("name");
        match named.get(name) {
            _ if name.is_empty() => {}
            Some(first) => out.push(format!(
                "{}: duplicate port name {} with {first}, services and probes that select ports by name will \
                 use {first}",
                port.path,
                quote(name)
            )),
            None => drop(named.insert(name, port.path)),
        }
    }
}

type Known<'a> = HashMap<(i64, &'a str), Vec<(Path, &'a str, i64)>>;

fn shared<'a>(ports: &At<'a>, known: &mut Known<'a>, out: &mut Vec<String>) {
    for port in ports.items() {
        let number = |field: &str| port.get(field).int().unwrap_or_default();
        let (host_ip, host_port, own) = (port.text_of("hostIP"), number("hostPort"), number("containerPort"));
        let protocol = port.text_of("protocol");
        if !host_ip.is_empty() && host_port == 0 {
            // As Go prints the struct.
            out.push(format!(
                "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{own} Protocol:{protocol} \
                 HostIP:{host_ip}}}",
                port.path,
                port.text_of("name"),
            ));
        }
        let others = known.entry((own, protocol)).or_default();
        for (other, other_ip, other_port) in others.iter() {
            if (host_ip, host_port) == (*other_ip, *other_port) {
                out.push(format!("{}: duplicate port definition with {other}", port.path));
            } else if host_port == 0 || *other_port == 0 {
                out.push(format!("{}: overlapping port definition with {other}", port.path));
            } else if host_port == *other_port && host_ip.is_empty() != other_ip.is_empty() {
                out.push(format!("{}: dangerously ambiguous port definition with {other}", port.path));
            }
        }
        others.push((port.path, host_ip, host_port));
    }
}
