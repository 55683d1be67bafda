//! Steps as HTTP requests.

use http::{Method, Request, header};
use serde_json::{Value, json};

use super::step_kind::{PatchKind, Step};
use super::target::Target;

/// A request and how to read its answer.
pub(super) struct Call {
    pub(super) verb: &'static str,
    pub(super) target: Target,
    pub(super) request: Result<Request<Vec<u8>>, String>,
    /// The answer that also counts as success.
    pub(super) tolerated: Option<u16>,
}

/// The call that `step` asks for; absent for steps that are none by themselves.
pub(super) fn call_of(step: &Step) -> Option<Call> {
    let call = match step {
        Step::Create { target, body, exists_ok } => Call {
            verb: "create",
            target: target.clone(),
            request: request(Method::POST, &target.collection_path(), "application/json", body),
            tolerated: exists_ok.then_some(409),
        },
        Step::Replace { target, subresource, body } => Call {
            verb: "replace",
            target: target.clone(),
            request: request(Method::PUT, &target.path(*subresource), "application/json", body),
            tolerated: None,
        },
        Step::Patch { target, subresource, kind, body } => Call {
            verb: "patch",
            target: target.clone(),
            request: request(Method::PATCH, &target.path(*subresource), content_type(*kind), body),
            tolerated: None,
        },
        Step::Delete { target, .. } => Call {
            verb: "delete",
            target: target.clone(),
            request: request(Method::DELETE, &target.path(None), "application/json", &delete_options(step)),
            tolerated: Some(404),
        },
        Step::DeleteCollection { target } => Call {
            verb: "delete all",
            target: target.clone(),
            request: request(
                Method::DELETE,
                &target.collection_path(),
                "application/json",
                &json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}),
            ),
            tolerated: Some(404),
        },
        Step::Post { target, subresource, body } => Call {
            verb: "post",
            target: target.clone(),
            request: request(Method::POST, &target.path(Some(subresource)), "application/json", body),
            tolerated: None,
        },
        Step::Event { .. } | Step::Batch(_) | Step::Sequence(_) => return None,
    };
    Some(call)
}

fn request(method: Method, path: &str, content: &str, body: &Value) -> Result<Request<Vec<u8>>, String> {
    let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, content)
        .header(header::ACCEPT, "application/json")
        .body(body)
        .map_err(|error| error.to_string())
}

fn content_type(kind: PatchKind) -> &'static str {
    match kind {
        PatchKind::Merge => "application/merge-patch+json",
        PatchKind::Json => "application/json-patch+json",
        PatchKind::Strategic => "application/strategic-merge-patch+json",
    }
}

fn delete_options(step: &Step) -> Value {
    let Step::Delete { uid, resource_version, propagation, grace_seconds, .. } = step else {
        return Value::Null;
    };
    let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if uid.is_some() || resource_version.is_some() {
        let mut preconditions = json!({});
        if let Some(uid) = uid {
            preconditions["uid"] = json!(uid);
        }
        if let Some(version) = resource_version {
            preconditions["resourceVersion"] = json!(version);
        }
        options["preconditions"] = preconditions;
    }
    if let Some(propagation) = propagation {
        options["propagationPolicy"] = json!(propagation.as_str());
    }
    if let Some(seconds) = grace_seconds {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    options
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::call_of;
    use crate::step::Step;

    #[test]
    fn deleting_names_the_uid_as_precondition() {
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"namespace": "default", "name": "web-1", "uid": "u1"}}),
        )
        .unwrap();
        let call = call_of(&Step::delete(&pod)).unwrap();
        let request = call.request.unwrap();
        assert_eq!(request.uri(), "/api/v1/namespaces/default/pods/web-1");
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["preconditions"], json!({"uid": "u1"}));
    }
}
