//! Values a pod may read about itself: `fieldRef` and `resourceFieldRef`, in variables and in files.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::{Pod, ResourceFieldSelector, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quantity;

/// What the node knows about a pod beside its object.
#[derive(Debug, Clone, Default)]
pub(crate) struct PodFacts {
    pub pod_ips: Vec<String>,
    pub host_ips: Vec<String>,
    pub allocatable: BTreeMap<String, Quantity>,
}

/// A reference that cannot be answered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DownwardError {
    #[error("unsupported fieldPath: {0}")]
    FieldPath(String),
    #[error("unsupported container resource : {0}")]
    Resource(String),
    #[error("container {0} not found")]
    Container(String),
    #[error("{0}")]
    Quantity(String),
}

/// The value of a field path of the pod.
pub(crate) fn field(pod: &Pod, facts: &PodFacts, path: &str) -> Result<String, DownwardError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(DownwardError::FieldPath(path.to_owned())),
        };
        return Ok(map.and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.annotations" => format_map(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(DownwardError::FieldPath(path.to_owned())),
    })
}

/// `metadata.labels['key']` → (`metadata.labels`, `key`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` line per entry, the value quoted as Go's `%q` does.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={}", quote(v))).collect();
    lines.join("\n")
}

/// Go's `strconv.Quote`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                write!(out, "\\x{:02x}", c as u32).ok();
            }
            c if c.is_control() => {
                write!(out, "\\u{:04x}", c as u32).ok();
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a resource of a container; `own` names the container that asks.
pub(crate) fn resource(
    pod: &Pod,
    facts: &PodFacts,
    own: &str,
    selector: &ResourceFieldSelector,
) -> Result<String, DownwardError> {
    let name = selector.container_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(own);
    let requirements = find(pod, name).ok_or_else(|| DownwardError::Container(name.to_owned()))?;
    let (kind, resource) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| DownwardError::Resource(selector.resource.clone()))?;
    let list = match kind {
        "limits" => requirements.and_then(|r| r.limits.as_ref()),
        "requests" => requirements.and_then(|r| r.requests.as_ref()),
        _ => return Err(DownwardError::Resource(selector.resource.clone())),
    };
    let set = list.and_then(|l| l.get(resource));
    // An unset limit means the whole node, as upstream merges it in before answering.
    let amount = set.or_else(|| if kind == "limits" { facts.allocatable.get(resource) } else { None });
    let invalid = |e: quantity::QuantityError| DownwardError::Quantity(e.to_string());
    let divisor = selector.divisor.as_ref().filter(|d| !d.0.is_empty() && d.0 != "0");
    let (amount, divisor) = if resource == "cpu" {
        (
            amount.map(quantity::milli).transpose().map_err(invalid)?,
            divisor.map(quantity::milli).transpose().map_err(invalid)?.unwrap_or(1000),
        )
    } else if matches!(resource, "memory" | "ephemeral-storage") || resource.starts_with("hugepages-") {
        (
            amount.map(quantity::value).transpose().map_err(invalid)?,
            divisor.map(quantity::value).transpose().map_err(invalid)?.unwrap_or(1),
        )
    } else {
        return Err(DownwardError::Resource(selector.resource.clone()));
    };
    let (amount, divisor) = (amount.unwrap_or(0), divisor.max(1));
    Ok((amount / divisor + i64::from(amount % divisor > 0)).to_string())
}

#[allow(clippy::option_option, reason = "outer: is there such a container; inner: did it state resources")]
fn find<'a>(pod: &'a Pod, name: &str) -> Option<Option<&'a ResourceRequirements>> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.find(|c| c.name == name).map(|c| c.resources.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "x\"y\n"}},
            "spec": {"nodeName": "node1", "containers": [
                {"name": "c", "resources": {"limits": {"memory": "1.5Gi"}, "requests": {"cpu": "250m"}}}]}
        }))
        .unwrap()
    }

    fn facts() -> PodFacts {
        PodFacts {
            pod_ips: vec!["10.0.0.2".into(), "fd00::2".into()],
            host_ips: vec!["192.168.0.1".into()],
            allocatable: [("cpu".to_owned(), Quantity("2".into()))].into(),
        }
    }

    #[test]
    fn fields_of_metadata_spec_and_status() {
        for (path, want) in [
            ("metadata.name", "p"),
            ("metadata.labels", "a=\"x\\\"y\\n\"\nb=\"2\""),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['none']", ""),
            ("spec.nodeName", "node1"),
            ("status.podIP", "10.0.0.2"),
            ("status.podIPs", "10.0.0.2,fd00::2"),
            ("status.hostIP", "192.168.0.1"),
        ] {
            assert_eq!(field(&pod(), &facts(), path).as_deref(), Ok(want), "{path}");
        }
        assert_eq!(
            field(&pod(), &facts(), "spec.nothing").unwrap_err().to_string(),
            "unsupported fieldPath: spec.nothing"
        );
    }

    #[test]
    fn resources_round_up_and_limits_default_to_the_node() {
        let ask = |resource: &str, divisor: &str| {
            let selector = ResourceFieldSelector {
                container_name: None,
                divisor: Some(Quantity(divisor.into())),
                resource: resource.into(),
            };
            super::resource(&pod(), &facts(), "c", &selector).unwrap()
        };
        assert_eq!(ask("limits.memory", "1Mi"), "1536");
        assert_eq!(ask("limits.memory", "1Gi"), "2");
        assert_eq!(ask("requests.cpu", "0"), "1");
        assert_eq!(ask("requests.cpu", "1m"), "250");
        assert_eq!(ask("limits.cpu", "1"), "2");
        assert_eq!(ask("requests.memory", "0"), "0");
    }
}
