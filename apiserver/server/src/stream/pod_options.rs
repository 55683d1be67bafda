//! What a request about a pod's streams asks for, and the kubelet API's path for it. Pure.

use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::request::Query;

/// Log options that go to the node agent as they are.
const LOG_OPTIONS: &[&str] =
    &["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

/// The container that a request means: the named one, or the only one.
///
/// # Errors
/// 400 with upstream's texts.
pub fn choose_container(pod: &Value, named: Option<&str>) -> Result<String, Status> {
    let listed = |list: &str| -> Vec<&str> {
        pod.path_list(&["spec", list]).iter().filter_map(|container| container.path_str(&["name"])).collect()
    };
    let pod_name = Meta(pod).name();
    let (containers, init, ephemeral) =
        (listed("containers"), listed("initContainers"), listed("ephemeralContainers"));
    if let Some(named) = named {
        if [&containers, &init, &ephemeral].into_iter().any(|list| list.contains(&named)) {
            return Ok(named.to_owned());
        }
        return Err(Status::bad_request(format!("container {named} is not valid for pod {pod_name}")));
    }
    match containers.as_slice() {
        [only] if init.is_empty() && ephemeral.is_empty() => return Ok((*only).to_owned()),
        [] => {
            return Err(Status::bad_request(format!(
                "a container name must be specified for pod {pod_name}"
            )));
        }
        _ => {}
    }
    let mut text = format!(
        "a container name must be specified for pod {pod_name}, choose one of: [{}]",
        containers.join(" ")
    );
    if !init.is_empty() {
        text.extend([" or one of the init containers: [", &init.join(" "), "]"]);
    }
    if !ephemeral.is_empty() {
        text.extend([" or one of the ephemeral containers: [", &ephemeral.join(" "), "]"]);
    }
    Err(Status::bad_request(text))
}

/// `/containerLogs/…` with its query.
///
/// # Errors
/// 422 for options that contradict each other or are out of range.
pub fn log_path(pod: &Value, container: &str, query: &Query) -> Result<String, Status> {
    check_log_options(Meta(pod).name(), query)?;
    let mut pairs = Vec::new();
    for name in LOG_OPTIONS {
        if let Some(value) = query.non_empty(name) {
            pairs.push((*name, value));
        }
    }
    Ok(kubelet_path("containerLogs", pod, Some(container), &pairs))
}

fn check_log_options(name: &str, query: &Query) -> Result<(), Status> {
    let mut errors = ErrorList::new();
    let mut number = |field: &str, least: i64, text: &str| {
        if let Some(value) = query.integer(field)?.filter(|value| *value < least) {
            errors.invalid(&Path::new(field), value, text);
        }
        Ok::<(), Status>(())
    };
    number("tailLines", 0, "must be greater than or equal to 0")?;
    number("limitBytes", 1, "must be greater than 0")?;
    number("sinceSeconds", 1, "must be greater than 0")?;
    if let Some(given) = query.non_empty("sinceTime")
        && OffsetDateTime::parse(given, &Rfc3339).is_err()
    {
        let layout = "2006-01-02T15:04:05Z07:00";
        let why = format!("parsing time {given:?} as {layout:?}: cannot parse {given:?} as \"2006\"");
        return Err(Status::bad_request(why));
    }
    if query.non_empty("sinceSeconds").is_some() && query.non_empty("sinceTime").is_some() {
        errors.forbidden(&Path::new(""), "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    errors.into_result("", "PodLogOptions", name)
}

/// `/exec/…` or `/attach/…` with the kubelet API's names for the streams.
pub fn exec_path(action: &str, pod: &Value, container: &str, query: &Query) -> String {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for (asked, sent) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.is_true(asked) {
            pairs.push((sent, "1"));
        }
    }
    pairs.extend(query.all("command").map(|word| ("command", word)));
    kubelet_path(action, pod, Some(container), &pairs)
}

/// `/portForward/…` with the ports of WebSocket clients.
///
/// # Errors
/// 400 for a port that is none.
pub fn port_forward_path(pod: &Value, query: &Query) -> Result<String, Status> {
    let mut pairs = Vec::new();
    for ports in query.all("ports") {
        for port in ports.split(',') {
            if port.parse::<u16>().ok().is_none_or(|port| port == 0) {
                return Err(Status::bad_request(format!("invalid port {port:?}")));
            }
            pairs.push(("port", port));
        }
    }
    Ok(kubelet_path("portForward", pod, None, &pairs))
}

fn kubelet_path(action: &str, pod: &Value, container: Option<&str>, pairs: &[(&str, &str)]) -> String {
    let meta = Meta(pod);
    let mut path = format!("/{action}/{}/{}", escape(meta.namespace()), escape(meta.name()));
    if let Some(container) = container {
        path.push('/');
        path.push_str(&escape(container));
    }
    for (at, (name, value)) in pairs.iter().enumerate() {
        path.push(if at == 0 { '?' } else { '&' });
        path.push_str(&escape(name));
        path.push('=');
        path.push_str(&escape(value));
    }
    path
}

/// Percent-encodes everything but unreserved characters (RFC 3986).
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(out, "%{byte:02X}").ok();
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    fn pod() -> Value {
        value!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}
        })
    }

    #[test]
    fn a_container_is_named_or_the_only_one() {
        assert_eq!(choose_container(&pod(), Some("b")).unwrap(), "b");
        assert_eq!(choose_container(&pod(), Some("i")).unwrap(), "i");
        assert_eq!(
            choose_container(&pod(), Some("x")).unwrap_err().message,
            "container x is not valid for pod p"
        );
        assert_eq!(
            choose_container(&pod(), None).unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
    }

    #[test]
    fn options_become_the_kubelets() {
        let query = Query::parse(
            "command=sh&command=-c&command=echo%20%26%20x&stdin=true&stdout=1&tty=false&container=a",
        );
        assert_eq!(
            exec_path("exec", &pod(), "a", &query),
            "/exec/ns/p/a?input=1&output=1&command=sh&command=-c&command=echo%20%26%20x"
        );
        let log = Query::parse("follow=true&tailLines=5&insecureSkipTLSVerifyBackend=true");
        assert_eq!(log_path(&pod(), "a", &log).unwrap(), "/containerLogs/ns/p/a?follow=true&tailLines=5");
        assert_eq!(
            port_forward_path(&pod(), &Query::parse("ports=80,443")).unwrap(),
            "/portForward/ns/p?port=80&port=443"
        );
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for (query, code) in [
            ("tailLines=-1", 422),
            ("limitBytes=0", 422),
            ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", 422),
            ("tailLines=x", 400),
        ] {
            assert_eq!(log_path(&pod(), "a", &Query::parse(query)).unwrap_err().code, code, "{query}");
        }
        assert!(port_forward_path(&pod(), &Query::parse("ports=0")).is_err());
    }
}
