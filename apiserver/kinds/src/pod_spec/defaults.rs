//! Defaults of pod specs that depend on other fields. The plain ones are in the schema tables.

use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::{Map, Value};

const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

fn is_unset(map: &Map, field: &str) -> bool {
    map.get(field).is_none_or(|value| value.is_null() || value.as_str() == Some(""))
}

fn set_if_unset(map: &mut Map, field: &'static str, value: impl Into<Value>) {
    if is_unset(map, field) {
        map.insert(field, value);
    }
}

/// Sets a field for which an empty text is a value of its own.
fn set_if_null(map: &mut Map, field: &'static str, value: &'static str) {
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field, value);
    }
}

fn maps<'a>(map: &'a mut Map, field: &str) -> impl Iterator<Item = &'a mut Map> {
    let items = map.get_mut(field).and_then(Value::as_list_mut);
    items.into_iter().flatten().filter_map(Value::as_map_mut)
}

/// Defaults of a pod template in a workload.
pub(crate) fn default_template(template: &mut Value) {
    if let Some(spec) = template.make_map().get_mut("spec").and_then(Value::as_map_mut) {
        default_spec(spec);
    }
}

/// Defaults of a pod: those of its spec, and those that only pods have.
pub(crate) fn default_pod(pod: &mut Value) {
    let spec = pod.make_map().get_or_insert_map("spec");
    default_spec(spec);
    set_if_unset(spec, "enableServiceLinks", true);
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or_default();
    for list in ["containers", "initContainers"] {
        for container in maps(spec, list) {
            default_requests(container);
            if host_network {
                for port in maps(container, "ports") {
                    let number = port.get("containerPort").cloned().unwrap_or(Value::Null);
                    if port.get("hostPort").and_then(Value::as_i64).unwrap_or_default() == 0
                        && !number.is_null()
                    {
                        port.insert("hostPort", number);
                    }
                }
            }
        }
    }
}

fn default_spec(spec: &mut Map) {
    set_if_unset(spec, "dnsPolicy", "ClusterFirst");
    set_if_unset(spec, "restartPolicy", "Always");
    set_if_unset(spec, "securityContext", value!({}));
    set_if_unset(spec, "terminationGracePeriodSeconds", 30);
    set_if_unset(spec, "schedulerName", "default-scheduler");
    default_service_account(spec);
    for list in CONTAINER_LISTS {
        for container in maps(spec, list) {
            default_container(container);
        }
    }
    for volume in maps(spec, "volumes") {
        default_volume(volume);
    }
}

/// The older field name and the newer one show the same account.
fn default_service_account(spec: &mut Map) {
    let text = |field: &str| {
        spec.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if let Some(account) = text("serviceAccountName").or_else(|| text("serviceAccount")) {
        spec.insert("serviceAccountName", account.clone());
        spec.insert("serviceAccount", account);
    }
}

fn default_container(container: &mut Map) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = pull_policy(image);
    set_if_unset(container, "imagePullPolicy", policy);
    set_if_unset(container, "terminationMessagePath", "/dev/termination-log");
    set_if_unset(container, "terminationMessagePolicy", "File");
    set_if_unset(container, "resources", value!({}));
    for port in maps(container, "ports") {
        set_if_unset(port, "protocol", "TCP");
    }
    for env in maps(container, "env") {
        let field =
            env.get_mut("valueFrom").and_then(|from| from.get_mut("fieldRef")).and_then(Value::as_map_mut);
        if let Some(field) = field {
            set_if_unset(field, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_map_mut) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        let hook = container.get_mut("lifecycle").and_then(|lifecycle| lifecycle.get_mut(hook));
        if let Some(hook) = hook.and_then(Value::as_map_mut) {
            default_handler(hook);
        }
    }
}

/// `Always` for images whose tag may move.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        None if !digest => "Always",
        _ => "IfNotPresent",
    }
}

fn default_probe(probe: &mut Map) {
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.get(field).and_then(Value::as_i64).unwrap_or_default() == 0 {
            probe.insert(field, value);
        }
    }
    default_handler(probe);
}

fn default_handler(handler: &mut Map) {
    if let Some(http) = handler.get_mut("httpGet").and_then(Value::as_map_mut) {
        set_if_unset(http, "path", "/");
        set_if_unset(http, "scheme", "HTTP");
    }
    if let Some(grpc) = handler.get_mut("grpc").and_then(Value::as_map_mut) {
        set_if_null(grpc, "service", "");
    }
}

/// A limit is also a request unless the pod says otherwise.
fn default_requests(container: &mut Map) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_map_mut) else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_map).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = resources.get_or_insert_map("requests");
    for (name, limit) in limits {
        if !requests.contains_key(&name) {
            requests.insert(name, limit);
        }
    }
}

fn default_volume(volume: &mut Map) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir", value!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_map_mut) {
            set_if_unset(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_map_mut) {
        set_if_null(path, "type", "");
    }
    if let Some(image) = volume.get_mut("image").and_then(Value::as_map_mut) {
        let policy = pull_policy(image.get("reference").and_then(Value::as_str).unwrap_or_default());
        set_if_unset(image, "pullPolicy", policy);
    }
    if let Some(source) = volume.get_mut("downwardAPI").and_then(Value::as_map_mut) {
        default_downward_items(source);
    }
    let Some(projected) = volume.get_mut("projected").and_then(Value::as_map_mut) else { return };
    for source in maps(projected, "sources") {
        if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_map_mut) {
            set_if_unset(token, "expirationSeconds", 3600);
        }
        if let Some(downward) = source.get_mut("downwardAPI").and_then(Value::as_map_mut) {
            default_downward_items(downward);
        }
    }
}

fn default_downward_items(source: &mut Map) {
    for item in maps(source, "items") {
        if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_map_mut) {
            set_if_unset(field, "apiVersion", "v1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_move_are_pulled_always() {
        for image in ["nginx", "nginx:latest", "host:5000/nginx", "a/b:latest"] {
            assert_eq!(pull_policy(image), "Always", "{image}");
        }
        for image in ["nginx:1", "host:5000/nginx:1", "nginx@sha256:0", "nginx:1@sha256:0"] {
            assert_eq!(pull_policy(image), "IfNotPresent", "{image}");
        }
    }
}
