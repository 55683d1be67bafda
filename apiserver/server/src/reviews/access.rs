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
        let user = if self.about_self { Arc::clone(context.user()) } else { Arc::new(subject(&review)?) };
        let decision = self.authorizer.authorize(&user, &attributes(&review)).await;
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
        field_selector: selector(review, "fieldSelector").into(),
        label_selector: selector(review, "labelSelector").into(),
        resource_request: true,
        ..Attributes::default()
    }
}

/// The text of a selector that a review states, as text or as requirements.
fn selector(review: &Value, field: &str) -> String {
    let at = |part: &str| review.path(&["spec", "resourceAttributes", field, part]);
    if let Some(raw) = at("rawSelector").and_then(Value::as_str) {
        return raw.to_owned();
    }
    let requirements = at("requirements").and_then(Value::as_list).unwrap_or_default();
    let term = |one: &Value| {
        let key = one.path_str(&["key"])?;
        let values: Vec<&str> = one.path_list(&["values"]).iter().filter_map(Value::as_str).collect();
        let (is_label, values) = (field == "labelSelector", (values.as_slice(), values.join(",")));
        Some(match (one.path_str(&["operator"])?, values) {
            ("In", ([value], _)) => format!("{key}={value}"),
            ("NotIn", ([value], _)) => format!("{key}!={value}"),
            ("In", (_, all)) if is_label => format!("{key} in ({all})"),
            ("NotIn", (_, all)) if is_label => format!("{key} notin ({all})"),
            ("Exists", _) if is_label => key.to_owned(),
            ("DoesNotExist", _) if is_label => format!("!{key}"),
            // What cannot be said narrows nothing: the question is the wider one.
            _ => return None,
        })
    };
    requirements.iter().filter_map(term).collect::<Vec<_>>().join(",")
}

fn status(decision: &Decision) -> Value {
    let mut status = Map::default();
    status.insert("allowed", decision.is_allowed());
    if matches!(decision, Decision::Deny(_) | Decision::Failed { denies: true, .. }) {
        status.insert("denied", true);
    }
    if let Decision::Failed { error, .. } = decision {
        status.insert("evaluationError", error.as_str());
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
