//! Where a Service is reached: a ready endpoint of its port, or the name that an ExternalName stands for.

use mainstay_apiserver_kinds::{ENDPOINT_SLICE, SERVICE};
use mainstay_apiserver_machinery::value::Value;

use crate::registry::Registry;
use crate::stream::proxy_target::{ProxyName, service_target};

/// Host and port to connect to for a port of a Service, as the cache has it now. `pick` chooses among many endpoints.
///
/// # Errors
/// Upstream's text for a Service, port or endpoint that is not there.
pub(crate) fn service_address(
    registry: &Registry,
    (namespace, name): (&str, &str),
    port: u16,
    pick: usize,
) -> Result<(String, u16), String> {
    let service = registry.get(&SERVICE, namespace, name);
    let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
    let service = registry.decode_served(&SERVICE, &service).map_err(|status| status.message)?;
    if service.path_str(&["spec", "type"]) == Some("ExternalName") {
        let host = service.path_str(&["spec", "externalName"]).unwrap_or_default();
        return Ok((host.to_owned(), port));
    }
    let snapshot = registry.snapshot(&ENDPOINT_SLICE);
    let slices: Result<Vec<Value>, _> = snapshot
        .iter()
        .flat_map(|snapshot| snapshot.namespace(namespace))
        .filter(|slice| slice.header.label("kubernetes.io/service-name") == Some(name))
        .map(|slice| registry.decode_served(&ENDPOINT_SLICE, slice))
        .collect();
    let slices = slices.map_err(|status| status.message)?;
    let port = port.to_string();
    let wanted = ProxyName { https: true, name, port: &port };
    let target = service_target(&service, &slices, &wanted, pick).map_err(|status| status.message)?;
    Ok((target.host, target.port))
}
