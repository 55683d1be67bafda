//! `SubjectAccessReview`, `LocalSubjectAccessReview` and `SelfSubjectAccessReview`: may somebody do this?

use std::sync::Arc;

use futures::future::BoxFuture;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::{Map, Value, from_value};
use mainstay_proto_api::Status;
use smol_str::SmolStr;

use super::request::{created, read};
use crate::request::RequestContext;
use crate::types::{Attributes, Authorize, Decision, Endpoint, Request, Response, UserInfo};

/// Answers one of the three kinds.
pub struct AccessReview {
    /// The kind.
    pub kind: &'static Kind,
    /// Whether it is about the caller itself.
    pub about_self: bool,
    /// The authorizer.
    pub authorizer: Arc<dyn Authorize>,
    /// The longest body.
    pub body_bytes_max: usize,
}

impl AccessReview {
    async fn answer(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let mut review = read(&context, request, self.kind, self.body_bytes_max).await?;
        let user = if self.about_self { context.user().clone() } else { subject(&review)? };
        let decision = self.authorizer.authorize(&user, &attributes(&review));
        review.set_path(&["status"], status(&decision));
        created(&context, self.kind, &review)
    }
}

impl Endpoint for AccessReview {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.answer(context, request))
    }
}

/// The user that a review names.
fn subject(review: &Value) -> Result<UserInfo, Status> {
    let text = |field| SmolStr::from(review.path_str(&["spec", field]).unwrap_or_default());
    let groups =
        review.path_list(&["spec", "groups"]).iter().filter_map(Value::as_str).map(SmolStr::from).collect();
    let extra = match review.path(&["spec", "extra"]) {
        Some(extra) => {
            from_value(extra).map_err(|error| Status::bad_request(format!("spec.extra: {error}")))?
        }
        None => std::collections::BTreeMap::new(),
    };
    Ok(UserInfo { name: text("user"), uid: text("uid"), groups, extra })
}

/// The question of a review.
fn attributes(review: &Value) -> Attributes {
    if let Some(other) = review.path(&["spec", "nonResourceAttributes"]) {
        let text = |field| SmolStr::from(other.path_str(&[field]).unwrap_or_default());
        return Attributes { verb: text("verb"), path: text("path"), ..Attributes::default() };
    }
    let text =
        |field| SmolStr::from(review.path_str(&["spec", "resourceAttributes", field]).unwrap_or_default());
    let version = match text("version") {
        version if version.is_empty() => "*".into(),
        version => version,
    };
    Attributes {
        verb: text("verb"),
        api_group: text("group"),
        api_version: version,
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        resource_request: true,
        ..Attributes::default()
    }
}

fn status(decision: &Decision) -> Value {
    let mut status = Map::default();
    status.insert("allowed", decision.is_allowed());
    if matches!(decision, Decision::Deny(_)) {
        status.insert("denied", true);
    }
    if !decision.reason().is_empty() {
        status.insert("reason", decision.reason());
    }
    Value::Map(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::value;

    #[test]
    fn a_review_asks_what_it_says() {
        let review = value!({"spec": {"user": "jane", "groups": ["a"], "resourceAttributes": {
            "verb": "create", "resource": "pods", "subresource": "exec", "namespace": "team"
        }}});
        let asked = attributes(&review);
        assert_eq!((asked.resource.as_str(), asked.subresource.as_str()), ("pods", "exec"));
        assert_eq!(asked.api_version, "*");
        assert_eq!(subject(&review).unwrap(), UserInfo::new("jane", ["a"]));
        let path = value!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}});
        assert!(!attributes(&path).resource_request);
    }
}
