//! The question a hook is asked (`AdmissionReview`) and what may be answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_apiserver_machinery::json;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;
use smol_str::SmolStr;

use super::hook::Hook;
use crate::admission::told::{self, body_kind};
use crate::types::AdmissionRequest;

/// A hook's answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// A JSON patch; none when nothing is to be changed.
    pub(super) patch: Option<Value>,
    /// Why not.
    pub(super) status: Option<Status>,
    pub(super) warnings: Vec<String>,
    /// What the audit log is told, by key.
    pub(super) annotations: Vec<(SmolStr, String)>,
}

/// The review of a request, in the form that the hook takes: `kind` is how it wants to see `object` and `old`.
pub(super) fn question(
    version: &str,
    uid: &str,
    request: &AdmissionRequest,
    kind: &Kind,
    (object, old): (&Value, Option<&Value>),
) -> Vec<u8> {
    let of_resource =
        |kind: &Kind| value!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    let mut asked = value!({
        "uid": uid,
        "kind": body_kind(kind, &request.subresource),
        "resource": of_resource(kind),
        "requestKind": body_kind(request.kind, &request.subresource),
        "requestResource": of_resource(request.kind),
        "operation": request.operation.as_str(),
        "userInfo": value::to_value(&*request.user).unwrap_or_default(),
        "object": object.clone(),
        "oldObject": old.cloned().unwrap_or_default(),
        "dryRun": request.dry_run,
        "options": request.options.clone(),
    });
    for (field, text) in [
        ("name", request.name.as_str()),
        ("namespace", told::namespace(request)),
        ("subResource", &request.subresource),
        ("requestSubResource", &request.subresource),
    ] {
        if !text.is_empty() {
            asked.set_path(&[field], text);
        }
    }
    let review = value!({
        "apiVersion": format!("admission.k8s.io/{version}"),
        "kind": "AdmissionReview",
        "request": asked,
    });
    json::to_string(&review).into_bytes()
}

/// Reads an answer.
///
/// # Errors
/// What upstream says about an answer that does not fit the question.
pub(super) fn verdict(version: &str, uid: &str, mutating: bool, body: &[u8]) -> Result<Verdict, String> {
    let review = json::decode_free(body).map_err(|error| format!("the answer is no JSON: {error}"))?;
    let Some(response) = review.get("response").filter(|response| !response.is_null()) else {
        return Err("webhook response was absent".to_owned());
    };
    let text = |path: &[&str]| response.path_str(path).unwrap_or_default();
    let patch = text(&["patch"]);
    if version == "v1" {
        if text(&["uid"]) != uid {
            return Err(format!("expected response.uid={uid:?}, got {:?}", text(&["uid"])));
        }
        let stated = |name: &str| review.path_str(&[name]).unwrap_or_default();
        if stated("apiVersion") != "admission.k8s.io/v1" || stated("kind") != "AdmissionReview" {
            let got = format!("{}, Kind={}", stated("apiVersion"), stated("kind"));
            return Err(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {got}"
            ));
        }
        check_patch(mutating, patch, response.path_str(&["patchType"]))?;
    }
    let patch = match patch {
        "" => None,
        _ if !mutating => None,
        base64 => {
            let bytes = STANDARD.decode(base64).map_err(|error| format!("response.patch: {error}"))?;
            let patch = json::decode_free(&bytes).map_err(|error| format!("response.patch: {error}"))?;
            Some(patch).filter(|patch| patch.as_list().is_none_or(|operations| !operations.is_empty()))
        }
    };
    let status = response.get("status").filter(|status| !status.is_null());
    let status =
        status.map(value::from_value).transpose().map_err(|error| format!("response.status: {error}"))?;
    let warnings = response.path_list(&["warnings"]).iter().filter_map(Value::as_str).map(str::to_owned);
    let annotations = response.path_map(&["auditAnnotations"]).into_iter().flat_map(|all| all.iter());
    let annotations = annotations.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())));
    Ok(Verdict {
        annotations: annotations.collect(),
        allowed: response.path_bool(&["allowed"]) == Some(true),
        patch,
        status,
        warnings: warnings.collect(),
    })
}

fn check_patch(mutating: bool, patch: &str, patch_type: Option<&str>) -> Result<(), String> {
    let why = match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => "webhook returned response.patch but not response.patchType",
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, false, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, true, Some(_)) => "validating webhook may not return response.patchType",
        (true, false, Some(other)) if other != "JSONPatch" => {
            return Err(format!("unsupported patch type {other:?}"));
        }
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

/// The refusal that a hook's "no" becomes.
pub(super) fn denied(hook: &Hook, status: Option<Status>) -> Status {
    let mut status = status.unwrap_or_else(|| Status::failure(400, "", ""));
    if status.code < 400 {
        status.code = 400;
    }
    status.status = "Failure".into();
    let by = format!("admission webhook {:?} denied the request", hook.name.as_str());
    status.message = match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mutating: bool, response: &str) -> Result<Verdict, String> {
        let body = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{response}}}"#
        );
        verdict("v1", "u", mutating, body.as_bytes())
    }

    #[test]
    fn answers_must_fit_the_question() {
        assert!(read(true, r#"{"uid":"u","allowed":true}"#).unwrap().allowed);
        for (mutating, response, why) in [
            (true, "null", "webhook response was absent"),
            (true, r#"{"uid":"x"}"#, r#"expected response.uid="u", got "x""#),
            (
                true,
                r#"{"uid":"u","patch":"W10="}"#,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                true,
                r#"{"uid":"u","patchType":"JSONPatch"}"#,
                "webhook returned response.patchType but not response.patch",
            ),
            (true, r#"{"uid":"u","patch":"W10=","patchType":"Merge"}"#, r#"unsupported patch type "Merge""#),
            (false, r#"{"uid":"u","patch":"W10="}"#, "validating webhook may not return response.patch"),
        ] {
            assert_eq!(read(mutating, response).unwrap_err(), why);
        }
        let patched = read(
            true,
            r#"{"uid":"u","allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL2EifV0="}"#,
        );
        assert_eq!(patched.unwrap().patch.unwrap().as_list().unwrap().len(), 1);
    }
}
