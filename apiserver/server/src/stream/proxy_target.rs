//! Where `pods/proxy`, `services/proxy` and `nodes/proxy` lead. Pure.

use std::net::IpAddr;

use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use super::backend::{Target, Trust};
use super::guard::check_address;

/// `[scheme:]name[:port]`, as the name segment of a proxy path says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyName<'a> {
    /// Whether the backend speaks HTTPS.
    pub https: bool,
    /// The object's name.
    pub name: &'a str,
    /// Number or name of a port; empty for the default one.
    pub port: &'a str,
}

/// Splits the name segment.
///
/// # Errors
/// 400 with upstream's text.
pub fn split_name<'a>(kind: &str, segment: &'a str) -> Result<ProxyName<'a>, Status> {
    let parts: Vec<&str> = segment.split(':').collect();
    let split = match parts.as_slice() {
        [name] => Some(("", *name, "")),
        [name, port] => Some(("", *name, *port)),
        [scheme, name, port] => Some((*scheme, *name, *port)),
        _ => None,
    };
    match split {
        Some((scheme @ ("" | "http" | "https"), name, port)) if !name.is_empty() => {
            Ok(ProxyName { https: scheme == "https", name, port })
        }
        _ => Err(Status::bad_request(format!("invalid {kind} request {segment:?}"))),
    }
}

/// The raw path after the object's `proxy`, with its query; at least a slash.
pub fn tail(raw_path: &str, query: Option<&str>) -> String {
    let mut segments = raw_path.splitn(2, "/proxy/");
    let rest = match (segments.next(), segments.next()) {
        (Some(_), Some(rest)) => rest,
        _ => "",
    };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{rest}{query}")
}

/// The address of a pod.
///
/// # Errors
/// 400 for pods without an address, for ports that are none, and for addresses that a proxy may not reach.
pub fn pod_target(pod: &Value, name: &ProxyName<'_>) -> Result<Target, Status> {
    let port = match name.port {
        "" => pod
            .path_list(&["spec", "containers"])
            .iter()
            .flat_map(|container| container.path_list(&["ports"]))
            .find_map(|port| port.path_i64(&["containerPort"]))
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(if name.https { 443 } else { 80 }),
        text => number(text)?,
    };
    let address = pod.path_str(&["status", "podIP"]).unwrap_or_default();
    guarded(address, port, name.https)
}

/// A ready address behind a Service, of its EndpointSlices; `pick` chooses among many.
///
/// # Errors
/// 503 with upstream's text when there is none, 400 for a port that the Service does not have.
pub fn service_target(
    service: &Value,
    slices: &[Value],
    name: &ProxyName<'_>,
    pick: usize,
) -> Result<Target, Status> {
    let port_name = service_port_name(service, name)?;
    let mut ready: Vec<(&str, u16)> = Vec::new();
    for slice in slices {
        let ports = slice.path_list(&["ports"]).iter();
        let port = ports
            .filter(|port| port.path_str(&["name"]).unwrap_or_default() == port_name)
            .find_map(|port| u16::try_from(port.path_i64(&["port"])?).ok());
        let Some(port) = port else { continue };
        for endpoint in slice.path_list(&["endpoints"]) {
            if endpoint.path_bool(&["conditions", "ready"]).unwrap_or(true) {
                let addresses = endpoint.path_list(&["addresses"]).iter().filter_map(Value::as_str);
                ready.extend(addresses.take(1).map(|address| (address, port)));
            }
        }
    }
    let none = || Status::service_unavailable(format!("no endpoints available for service {:?}", name.name));
    let count = ready.len().max(1);
    let (address, port) = *ready.get(pick % count).ok_or_else(none)?;
    guarded(address, port, name.https)
}

/// The name of the Service port that a number or name means.
fn service_port_name(service: &Value, name: &ProxyName<'_>) -> Result<String, Status> {
    let ports = service.path_list(&["spec", "ports"]);
    let called = |port: &Value| port.path_str(&["name"]).unwrap_or_default().to_owned();
    let found = match (name.port, ports) {
        ("", [only]) => Some(called(only)),
        ("", _) => ports.iter().find(|port| called(port).is_empty()).map(called),
        (text, _) => ports
            .iter()
            .find(|port| {
                called(port) == text
                    || port.path_i64(&["port"]).is_some_and(|number| number.to_string() == text)
            })
            .map(called),
    };
    found.ok_or_else(|| {
        Status::service_unavailable(format!(
            "no service port {:?} found for service {:?}",
            name.port, name.name
        ))
    })
}

/// A port number in a path.
///
/// # Errors
/// 400 for text that is none.
pub fn number(text: &str) -> Result<u16, Status> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Status::bad_request(format!("invalid port {text:?}"))),
    }
}

/// A target that a proxy may reach.
///
/// # Errors
/// 400 for text that is no address, and for addresses that a proxy may not reach.
pub fn guarded(address: &str, port: u16, https: bool) -> Result<Target, Status> {
    let parsed: IpAddr = address
        .parse()
        .map_err(|_parse| Status::bad_request(format!("address {address:?} is not reachable")))?;
    check_address(parsed).map_err(|error| Status::bad_request(error.to_string()))?;
    let trust = if https { Trust::Anybody } else { Trust::Plain };
    Ok(Target { host: parsed.to_string(), port, trust })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn names_carry_scheme_and_port() {
        assert_eq!(split_name("pod", "web").unwrap(), ProxyName { https: false, name: "web", port: "" });
        assert_eq!(
            split_name("pod", "https:web:8443").unwrap(),
            ProxyName { https: true, name: "web", port: "8443" }
        );
        assert_eq!(split_name("pod", "web:http").unwrap().port, "http");
        for bad in ["", "ftp:web:80", "a:b:c:d", ":80"] {
            assert_eq!(split_name("pod", bad).unwrap_err().code, 400, "{bad}");
        }
    }

    #[test]
    fn tails_keep_their_raw_form() {
        assert_eq!(tail("/api/v1/namespaces/ns/pods/p/proxy/a%2Fb/", Some("x=%20")), "/a%2Fb/?x=%20");
        assert_eq!(tail("/api/v1/namespaces/ns/pods/p/proxy", None), "/");
        assert_eq!(tail("/api/v1/namespaces/ns/pods/p/proxy/x/proxy/y", None), "/x/proxy/y");
    }

    #[test]
    fn a_pod_cannot_point_the_proxy_at_the_control_plane() {
        let pod = |ip: &str| value!({"spec": {"containers": [{"ports": [{"containerPort": 8080}]}]}, "status": {"podIP": ip}});
        let name = split_name("pod", "web").unwrap();
        let target = pod_target(&pod("10.244.0.5"), &name).unwrap();
        assert_eq!((target.host.as_str(), target.port, target.trust), ("10.244.0.5", 8080, Trust::Plain));
        for refused in ["127.0.0.1", "169.254.169.254", "", "localhost"] {
            assert_eq!(pod_target(&pod(refused), &name).unwrap_err().code, 400, "{refused}");
        }
    }

    #[test]
    fn a_service_leads_to_ready_endpoints_of_its_port() {
        let service =
            value!({"spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]}});
        let slice = value!({
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}}
            ]
        });
        let ask = |segment: &str| {
            service_target(
                &service,
                std::slice::from_ref(&slice),
                &split_name("service", segment).unwrap(),
                7,
            )
        };
        assert_eq!(ask("web:http").unwrap().authority(), "10.0.0.2:8080");
        assert_eq!(ask("web:80").unwrap().authority(), "10.0.0.2:8080");
        assert_eq!(ask("web:admin").unwrap_err().code, 503);
        assert_eq!(ask("web:nothing").unwrap_err().code, 503);
        let local =
            value!({"ports": [{"name": "http", "port": 80}], "endpoints": [{"addresses": ["127.0.0.1"]}]});
        let refused = service_target(&service, &[local], &split_name("service", "web:http").unwrap(), 0);
        assert_eq!(refused.unwrap_err().code, 400);
    }
}
