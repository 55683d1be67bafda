//! Environment variables that announce Services to containers (the `*_SERVICE_HOST` and docker-link forms).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// The namespace and name of the API's own Service, announced to every pod.
const KUBERNETES: (&str, &str) = ("default", "kubernetes");

/// Variables for a pod in `namespace`; without `links` only the API's own Service is announced.
pub(crate) fn service_env<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<String, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let ns = service.metadata.namespace.as_deref().unwrap_or_default();
        if cluster_ip(service).is_none() {
            continue;
        }
        // A pod's own namespace wins over the API's Service of the same name.
        if links && ns == namespace {
            chosen.insert(name.to_owned(), service);
        } else if (ns, name) == KUBERNETES {
            chosen.entry(name.to_owned()).or_insert(service);
        }
    }
    let mut env = BTreeMap::new();
    for (name, service) in chosen {
        announce(&mut env, &name, service);
    }
    env
}

fn cluster_ip(service: &Service) -> Option<&str> {
    let ip = service.spec.as_ref()?.cluster_ip.as_deref()?;
    (!ip.is_empty() && ip != "None").then_some(ip)
}

fn announce(env: &mut BTreeMap<String, String>, name: &str, service: &Service) {
    let Some(ip) = cluster_ip(service) else { return };
    let ports: &[ServicePort] = service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let Some(first) = ports.first() else { return };
    let prefix = variable(name);
    env.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    env.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    env.insert(format!("{prefix}_PORT"), url(first, ip));
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            env.insert(format!("{prefix}_SERVICE_PORT_{}", variable(port_name)), port.port.to_string());
        }
        let proto = protocol(port);
        let link = format!("{prefix}_PORT_{}_{}", port.port, proto.to_uppercase());
        env.insert(format!("{link}_PROTO"), proto);
        env.insert(format!("{link}_PORT"), port.port.to_string());
        env.insert(format!("{link}_ADDR"), ip.to_owned());
        env.insert(link, url(port, ip));
    }
}

fn protocol(port: &ServicePort) -> String {
    port.protocol.as_deref().unwrap_or("TCP").to_lowercase()
}

fn url(port: &ServicePort, ip: &str) -> String {
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    format!("{}://{host}:{}", protocol(port), port.port)
}

fn variable(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(ns: &str, name: &str, ip: &str) -> Service {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": ns},
            "spec": {"clusterIP": ip, "ports": [{"name": "http-x", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}
        }))
        .unwrap()
    }

    #[test]
    fn both_forms_are_written_for_every_port() {
        let env = service_env(&[service("a", "my-web", "10.0.0.1")], "a", true);
        let text: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            text,
            [
                "MY_WEB_PORT=tcp://10.0.0.1:80",
                "MY_WEB_PORT_53_UDP=udp://10.0.0.1:53",
                "MY_WEB_PORT_53_UDP_ADDR=10.0.0.1",
                "MY_WEB_PORT_53_UDP_PORT=53",
                "MY_WEB_PORT_53_UDP_PROTO=udp",
                "MY_WEB_PORT_80_TCP=tcp://10.0.0.1:80",
                "MY_WEB_PORT_80_TCP_ADDR=10.0.0.1",
                "MY_WEB_PORT_80_TCP_PORT=80",
                "MY_WEB_PORT_80_TCP_PROTO=tcp",
                "MY_WEB_SERVICE_HOST=10.0.0.1",
                "MY_WEB_SERVICE_PORT=80",
                "MY_WEB_SERVICE_PORT_DNS=53",
                "MY_WEB_SERVICE_PORT_HTTP_X=80",
            ]
        );
    }

    #[test]
    fn other_namespaces_headless_and_unlinked_services_are_left_out() {
        let all = [
            service("b", "other", "10.0.0.2"),
            service("a", "headless", "None"),
            service("a", "mine", "10.0.0.3"),
            service("default", "kubernetes", "10.0.0.9"),
        ];
        let linked = service_env(&all, "a", true);
        assert!(linked.contains_key("MINE_SERVICE_HOST") && linked.contains_key("KUBERNETES_SERVICE_HOST"));
        assert!(!linked.contains_key("OTHER_SERVICE_HOST") && !linked.contains_key("HEADLESS_SERVICE_HOST"));
        let bare = service_env(&all, "a", false);
        assert!(!bare.contains_key("MINE_SERVICE_HOST") && bare.contains_key("KUBERNETES_SERVICE_HOST"));
    }
}
