//! [`Status`]: the answer that is not an object. One constructor per upstream error, with its code, reason and
//! message text.

use crate::names::group_resource;
use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};
use std::fmt;

/// `metav1.Status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[serde(default = "kind_name")]
    kind: SmolStr,
    #[serde(default = "api_version", rename = "apiVersion")]
    api_version: SmolStr,
    /// List metadata; only `continue` and `remainingItemCount` of expired lists are ever set.
    #[serde(default)]
    pub metadata: StatusMetadata,
    /// `Success` or `Failure`.
    #[serde(default, skip_serializing_if = "SmolStr::is_empty")]
    pub status: SmolStr,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For machines: one of upstream's reasons.
    #[serde(default, skip_serializing_if = "SmolStr::is_empty")]
    pub reason: SmolStr,
    /// What the answer is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<StatusDetails>>,
    /// The HTTP status code.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

/// `metav1.ListMeta` as far as a `Status` uses it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusMetadata {
    /// The token of an inconsistent continuation, in answers to expired lists.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
}

/// `metav1.StatusDetails`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusDetails {
    /// The object's name.
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub name: SmolStr,
    /// The group of `kind`.
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub group: SmolStr,
    /// The kind, or (as upstream has it) the resource.
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub kind: SmolStr,
    /// The object's uid.
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub uid: SmolStr,
    /// Single faults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// When to try again; 0 is absent.
    #[serde(skip_serializing_if = "is_zero_u32")]
    pub retry_after_seconds: u32,
}

/// `metav1.StatusCause`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusCause {
    /// The cause's type, as `FieldValueInvalid`.
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub reason: SmolStr,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The field's path.
    #[serde(skip_serializing_if = "SmolStr::is_empty")]
    pub field: SmolStr,
}

fn kind_name() -> SmolStr {
    SmolStr::new_static("Status")
}

fn api_version() -> SmolStr {
    SmolStr::new_static("v1")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(code: &u16) -> bool {
    *code == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero_u32(seconds: &u32) -> bool {
    *seconds == 0
}

fn about(group: &str, kind: &str, name: &str) -> StatusDetails {
    StatusDetails { group: group.into(), kind: kind.into(), name: name.into(), ..StatusDetails::default() }
}

impl Status {
    /// A success without more to say.
    pub fn success() -> Self {
        let mut status = Self::failure(200, "", "");
        status.status = SmolStr::new_static("Success");
        status
    }

    /// A success about one object: the answer to a finished DELETE.
    pub fn success_for(group: &str, resource: &str, name: &str, uid: &str) -> Self {
        let mut details = about(group, resource, name);
        details.uid = uid.into();
        Self { code: 0, ..Self::success() }.with_details(details)
    }

    /// A failure with any code, reason and message.
    pub fn failure(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: kind_name(),
            api_version: api_version(),
            metadata: StatusMetadata::default(),
            status: SmolStr::new_static("Failure"),
            message: message.into(),
            reason: SmolStr::new_static(reason),
            details: None,
            code,
        }
    }

    /// The same answer with these details.
    #[must_use]
    pub fn with_details(mut self, details: StatusDetails) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same answer, asking to try again after `seconds`.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Whether it says success.
    pub fn is_success(&self) -> bool {
        self.status == "Success"
    }

    /// The wait asked for, if any.
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0)
    }

    /// 404: no such object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", group_resource(group, resource));
        Self::failure(404, "NotFound", message).with_details(about(group, resource, name))
    }

    /// 404: no such path.
    pub fn path_not_found() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource")
            .with_details(StatusDetails::default())
    }

    /// 409: an object of that name is there.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", group_resource(group, resource));
        Self::failure(409, "AlreadyExists", message).with_details(about(group, resource, name))
    }

    /// 409: `generateName` met an object of that name again and again.
    pub fn generate_name_conflict(group: &str, resource: &str, name: &str, retry_after_seconds: u32) -> Self {
        let mut status = Self::already_exists(group, resource, name).with_retry_after(retry_after_seconds);
        status.message.push_str(", the server was not able to generate a unique name for the object");
        status
    }

    /// 409: the object is not in the state that the request presumes.
    pub fn conflict(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", group_resource(group, resource));
        Self::failure(409, "Conflict", message).with_details(about(group, resource, name))
    }

    /// 409: the resource version sent is not the current one.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422: the object breaks the kind's rules. `errors` is the text of all faults, `causes` one for each.
    pub fn invalid(
        group: &str,
        kind: &str,
        name: &str,
        errors: impl fmt::Display,
        causes: Vec<StatusCause>,
    ) -> Self {
        let message = format!("{} \"{name}\" is invalid: {errors}", group_resource(group, kind));
        Self::failure(422, "Invalid", message)
            .with_details(StatusDetails { causes, ..about(group, kind, name) })
    }

    /// 403: not allowed. Empty resource or name are left out of the text.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = if resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{} is forbidden: {why}", group_resource(group, resource))
        } else {
            format!("{} \"{name}\" is forbidden: {why}", group_resource(group, resource))
        };
        Self::failure(403, "Forbidden", message).with_details(about(group, resource, name))
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 401: nobody is known by these credentials.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 410: the resource version or continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 410: what was asked for is gone for good.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, "Gone", message)
    }

    /// 500: our fault.
    pub fn internal(why: impl fmt::Display) -> Self {
        let cause = StatusCause { message: why.to_string(), ..StatusCause::default() };
        Self::failure(500, "InternalError", format!("Internal error occurred: {why}"))
            .with_details(StatusDetails { causes: vec![cause], ..StatusDetails::default() })
    }

    /// 504: not done in time.
    pub fn timeout(why: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {why}")).with_retry_after(retry_after_seconds)
    }

    /// 500 with reason `ServerTimeout`: the same request may well work if tried again.
    pub fn server_timeout(group: &str, resource: &str, operation: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            group_resource(group, resource)
        );
        let details = StatusDetails { retry_after_seconds, ..about(group, resource, operation) };
        Self::failure(500, "ServerTimeout", message).with_details(details)
    }

    /// 504: the version asked for is not yet here.
    pub fn too_large_resource_version(wanted: u64, current: u64, retry_after_seconds: u32) -> Self {
        let cause = StatusCause {
            reason: SmolStr::new_static("ResourceVersionTooLarge"),
            message: "Too large resource version".to_owned(),
            field: SmolStr::default(),
        };
        let details = StatusDetails { causes: vec![cause], retry_after_seconds, ..StatusDetails::default() };
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        Self::failure(504, "Timeout", message).with_details(details)
    }

    /// 429: slow down.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", message).with_retry_after(retry_after_seconds)
    }

    /// 405: the resource has no such verb.
    pub fn method_not_allowed(group: &str, resource: &str, action: &str) -> Self {
        let kind = group_resource(group, resource);
        let message = format!("{action} is not supported on resources of kind \"{kind}\"");
        Self::failure(405, "MethodNotAllowed", message).with_details(about(group, resource, ""))
    }

    /// 415: the body's media type is not read here.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        Self::failure(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {list}"
            ),
        )
    }

    /// 406: no media type that the client accepts is written here.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let list = offered.join(", ");
        Self::failure(406, "NotAcceptable", format!("only the following media types are accepted: {list}"))
    }

    /// 413: the body is larger than `limit` bytes.
    pub fn request_entity_too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::failure(413, "RequestEntityTooLarge", message)
    }

    /// 503: not now.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// The object's name as details tell it.
    pub fn name(&self) -> &str {
        self.details.as_ref().map_or("", |d| &d.name)
    }

    /// `Failure: message (code)` in one line, for logs.
    pub fn summary(&self) -> SmolStr {
        format_smolstr!("{} {}: {}", self.code, self.reason, self.message)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_fields_are_upstreams() {
        let json = |s: &Status| serde_json::to_string(s).unwrap();
        assert_eq!(
            json(&Status::not_found("apps", "deployments", "web")),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"web\" not found","reason":"NotFound","details":{"name":"web","group":"apps","kind":"deployments"},"code":404}"#
        );
        assert_eq!(
            json(&Status::success_for("", "pods", "p", "u")),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"p","kind":"pods","uid":"u"}}"#
        );
        assert_eq!(Status::forbidden("", "pods", "", "no").message, "pods is forbidden: no");
        assert_eq!(Status::internal("x").details.unwrap().causes.len(), 1);
    }

    #[test]
    fn a_status_reads_back_as_written() {
        let status = Status::too_many_requests("slow", 3);
        let again: Status = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
        assert_eq!(again, status);
        assert_eq!(again.retry_after_seconds(), Some(3));
    }
}
