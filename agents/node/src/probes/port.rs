//! A port by number or by the name of a container's port.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The port that `stated` means for `container`.
pub(crate) fn resolve(stated: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match stated {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            match named {
                Some(port) => i64::from(port.container_port),
                None => name.parse().map_err(|_unreadable| {
                    format!("couldn't find port \"{name}\" of container \"{}\"", container.name)
                })?,
            }
        }
    };
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("invalid port number: {number}")),
    }
}
