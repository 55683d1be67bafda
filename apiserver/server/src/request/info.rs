//! What a path and method ask for (upstream's `RequestInfo`). Pure.

use http::Method;
use smol_str::SmolStr;

use super::Query;
use crate::types::Attributes;

/// The parts of a request that routing and authorization look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// False for paths outside `/api/{version}/…` and `/apis/{group}/{version}/…`.
    pub resource_request: bool,
    /// Kubernetes verb, or the lower-case method.
    pub verb: SmolStr,
    /// `api` or `apis`; empty for other paths.
    pub api_prefix: SmolStr,
    /// API group.
    pub api_group: SmolStr,
    /// API version.
    pub api_version: SmolStr,
    /// Namespace, or empty.
    pub namespace: SmolStr,
    /// Plural resource.
    pub resource: SmolStr,
    /// Subresource, or empty.
    pub subresource: SmolStr,
    /// Name, or empty.
    pub name: SmolStr,
    /// The selectors of a list, watch or deletecollection as they were sent, or empty.
    pub field_selector: SmolStr,
    /// As [`RequestInfo::field_selector`].
    pub label_selector: SmolStr,
    /// Segments after the subresource (proxy paths).
    pub rest: Vec<SmolStr>,
    /// The normalised path.
    pub path: SmolStr,
}

impl RequestInfo {
    /// Reads a normalised path.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = Self {
            path: path.into(),
            verb: SmolStr::new(method.as_str().to_ascii_lowercase()),
            ..Self::default()
        };
        let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
        let rest = match segments.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                info.api_prefix = "api".into();
                info.api_version = (*version).into();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                info.api_prefix = "apis".into();
                info.api_group = (*group).into();
                info.api_version = (*version).into();
                rest
            }
            _ => return info,
        };
        info.resource_request = true;
        info.verb = method_verb(method).into();
        let rest = info.take_legacy_watch(rest);
        info.take_resource(rest);
        info.settle_collection_verb(query);
        info
    }

    /// `/api/v1/watch/…`, deprecated since 1.11 but still served by upstream.
    fn take_legacy_watch<'a, 'b>(&mut self, rest: &'a [&'b str]) -> &'a [&'b str] {
        match rest {
            ["watch", tail @ ..] if !tail.is_empty() => {
                self.verb = "watch".into();
                tail
            }
            _ => rest,
        }
    }

    fn take_resource(&mut self, rest: &[&str]) {
        let rest = match rest {
            ["namespaces", namespace, tail @ ..]
                if !tail.is_empty() && !matches!(tail, ["status" | "finalize", ..]) =>
            {
                self.namespace = (*namespace).into();
                tail
            }
            ["namespaces", namespace, ..] => {
                self.namespace = (*namespace).into();
                rest
            }
            _ => rest,
        };
        let mut segments = rest.iter();
        let mut next = || segments.next().map(|s| SmolStr::new(*s)).unwrap_or_default();
        self.resource = next();
        self.name = next();
        self.subresource = next();
        self.rest = segments.map(|s| SmolStr::new(*s)).collect();
    }

    fn settle_collection_verb(&mut self, query: &Query) {
        if !self.name.is_empty() {
            return;
        }
        match self.verb.as_str() {
            "get" if query.is_true("watch") => self.verb = "watch".into(),
            "get" => self.verb = "list".into(),
            "delete" => self.verb = "deletecollection".into(),
            _ => {}
        }
        if matches!(self.verb.as_str(), "list" | "watch" | "deletecollection") {
            let text = |name: &str| SmolStr::new(query.get(name).unwrap_or_default());
            (self.field_selector, self.label_selector) = (text("fieldSelector"), text("labelSelector"));
            if let Some(name) = single_name(&self.field_selector) {
                self.name = name.into();
            }
        }
    }

    /// The access question this request raises.
    pub fn attributes(&self) -> Attributes {
        Attributes {
            verb: self.verb.clone(),
            api_group: self.api_group.clone(),
            api_version: self.api_version.clone(),
            resource: self.resource.clone(),
            subresource: self.subresource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            path: self.path.clone(),
            field_selector: self.field_selector.clone(),
            label_selector: self.label_selector.clone(),
            resource_request: self.resource_request,
        }
    }

    /// True when the path names one object, whatever a field selector says.
    pub fn is_object_path(&self) -> bool {
        !matches!(self.verb.as_str(), "list" | "watch" | "deletecollection") && !self.name.is_empty()
    }
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The name a field selector pins, so that rules with `resourceNames` can allow it.
fn single_name(selector: &str) -> Option<&str> {
    let name = selector.split(',').find_map(|term| {
        term.strip_prefix("metadata.name==").or_else(|| term.strip_prefix("metadata.name="))
    })?;
    (!name.is_empty() && !name.contains(['/', '\\'])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(method, path, &Query::parse(query))
    }

    fn short(info: &RequestInfo) -> String {
        format!(
            "{} {}/{} ns={} {}/{}/{}",
            info.verb,
            info.api_group,
            info.api_version,
            info.namespace,
            info.resource,
            info.name,
            info.subresource
        )
    }

    #[test]
    fn paths_and_methods_become_verbs_and_resources() {
        let table = [
            (Method::GET, "/api/v1/pods", "list /v1 ns= pods//"),
            (Method::GET, "/api/v1/pods?watch=1", "watch /v1 ns= pods//"),
            (Method::GET, "/api/v1/watch/pods", "watch /v1 ns= pods//"),
            (Method::GET, "/api/v1/namespaces/a/pods/p/log", "get /v1 ns=a pods/p/log"),
            (Method::GET, "/api/v1/namespaces/a", "get /v1 ns=a namespaces/a/"),
            (Method::PUT, "/api/v1/namespaces/a/finalize", "update /v1 ns=a namespaces/a/finalize"),
            (Method::POST, "/apis/apps/v1/namespaces/a/deployments", "create apps/v1 ns=a deployments//"),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection apps/v1 ns=a deployments//",
            ),
            (Method::GET, "/api/v1/nodes?fieldSelector=metadata.name%3Dn1", "list /v1 ns= nodes/n1/"),
        ];
        for (method, target, expected) in table {
            assert_eq!(short(&parse(&method, target)), expected, "{target}");
        }
    }

    #[test]
    fn other_paths_are_not_resource_requests() {
        for target in ["/", "/version", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "/livez/ping"] {
            let info = parse(&Method::GET, target);
            assert!(!info.resource_request, "{target}");
            assert_eq!(info.verb, "get");
        }
    }
}
