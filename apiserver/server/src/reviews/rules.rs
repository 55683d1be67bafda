//! `SelfSubjectRulesReview`: everything the caller may do in a namespace, for `kubectl auth can-i --list`.

use futures::future::BoxFuture;
use mainstay_apiserver_kinds::SELF_SUBJECT_RULES_REVIEW;
use mainstay_apiserver_machinery::value::{Map, Value};
use mainstay_proto_api::Status;
use smol_str::SmolStr;

use super::request::{created, read};
use crate::authz::{Authorizer, PolicyRule};
use crate::request::RequestContext;
use crate::types::{Endpoint, Request, Response};

/// Answers the reviews.
pub struct RulesReview {
    /// The authorizer.
    pub authorizer: Authorizer,
    /// The longest body.
    pub body_bytes_max: usize,
}

impl RulesReview {
    async fn answer(&self, context: RequestContext, request: Request) -> Result<Response, Status> {
        let mut review = read(&context, request, &SELF_SUBJECT_RULES_REVIEW, self.body_bytes_max).await?;
        let namespace = review.path_str(&["spec", "namespace"]).unwrap_or_default().to_owned();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let (rules, errors) = self.authorizer.index().rules_for(context.user(), &namespace);
        let mut errors = errors;
        if self.authorizer.has_webhook() {
            errors.push("webhook authorizer does not support user rule resolution".to_owned());
        }
        let mut status = status(&rules, &errors);
        status.set_path(&["incomplete"], self.authorizer.has_webhook());
        review.set_path(&["status"], status);
        created(&context, &SELF_SUBJECT_RULES_REVIEW, &review)
    }
}

impl Endpoint for RulesReview {
    fn call(&self, context: RequestContext, request: Request) -> BoxFuture<'_, Result<Response, Status>> {
        Box::pin(self.answer(context, request))
    }
}

fn status(rules: &[PolicyRule], errors: &[String]) -> Value {
    let list = |items: &[SmolStr]| Value::List(items.iter().cloned().map(Value::Str).collect());
    let (mut resources, mut others) = (Vec::new(), Vec::new());
    for rule in rules {
        if !rule.resources.is_empty() {
            let mut entry = Map::default();
            entry.insert("verbs", list(&rule.verbs));
            entry.insert("apiGroups", list(&rule.api_groups));
            entry.insert("resources", list(&rule.resources));
            if !rule.resource_names.is_empty() {
                entry.insert("resourceNames", list(&rule.resource_names));
            }
            resources.push(Value::Map(entry));
        }
        if !rule.non_resource_urls.is_empty() {
            let mut entry = Map::default();
            entry.insert("verbs", list(&rule.verbs));
            entry.insert("nonResourceURLs", list(&rule.non_resource_urls));
            others.push(Value::Map(entry));
        }
    }
    let mut status = Map::default();
    status.insert("resourceRules", Value::List(resources));
    status.insert("nonResourceRules", Value::List(others));
    status.insert("incomplete", false);
    if !errors.is_empty() {
        status.insert("evaluationError", errors.join(", "));
    }
    Value::Map(status)
}
