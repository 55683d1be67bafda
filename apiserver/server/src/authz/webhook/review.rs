//! The SubjectAccessReview that a webhook is sent, and what its answer says. Pure.

use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::{field, label};
use serde::Deserialize;

use super::config::ReviewVersion;
use crate::types::{Attributes, Decision, UserInfo};

/// What an answer says.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) allowed: bool,
    #[serde(default)]
    denied: bool,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    status: Said,
}

/// The `spec` of the review of a question, in the form of v1, as conditions see it.
pub(super) fn spec(user: &UserInfo, asked: &Attributes) -> Value {
    let mut spec = value!({
        "user": user.name.clone(),
        "groups": (user.groups.iter().cloned().collect::<Value>()),
        "uid": user.uid.clone(),
        "extra": value::to_value(&user.extra).unwrap_or_default(),
    });
    if !asked.resource_request {
        spec.set_path(
            &["nonResourceAttributes"],
            value!({"path": asked.path.clone(), "verb": asked.verb.clone()}),
        );
        return spec;
    }
    let mut resource = value!({
        "namespace": asked.namespace.clone(),
        "verb": asked.verb.clone(),
        "group": asked.api_group.clone(),
        "version": asked.api_version.clone(),
        "resource": asked.resource.clone(),
        "subresource": asked.subresource.clone(),
        "name": asked.name.clone(),
    });
    for (field, requirements) in
        [("fieldSelector", fields(&asked.field_selector)), ("labelSelector", labels(&asked.label_selector))]
    {
        if !requirements.is_empty() {
            resource.set_path(&[field, "requirements"], requirements);
        }
    }
    spec.set_path(&["resourceAttributes"], resource);
    spec
}

/// The body of the call: as the version has it, without what is empty.
pub(super) fn body(spec: &Value, version: ReviewVersion) -> Value {
    let mut spec = spec.clone();
    drop_empty(&mut spec);
    if version == ReviewVersion::V1Beta1
        && let Some(map) = spec.as_map_mut()
        && let Some(groups) = map.remove("groups")
    {
        map.insert("group", groups);
    }
    value!({
        "apiVersion": format!("authorization.k8s.io/{}", version.as_str()),
        "kind": "SubjectAccessReview",
        "metadata": {"creationTimestamp": (Value::Null)},
        "spec": (spec),
        "status": {"allowed": false},
    })
}

/// What the body of an answer says.
///
/// # Errors
/// A body that is no review.
pub(super) fn said(body: &[u8]) -> Result<Said, String> {
    serde_json::from_slice::<Answer>(body).map(|answer| answer.status).map_err(|error| error.to_string())
}

impl Said {
    /// The decision, as upstream reads it.
    pub(super) fn decision(&self) -> Decision {
        let reason = self.reason.clone();
        match (self.allowed, self.denied) {
            (true, true) => Decision::Failed {
                error: "webhook subject access review returned both allow and deny response".to_owned(),
                denies: true,
            },
            (false, true) => Decision::Deny(reason),
            (true, false) => Decision::Allow(reason),
            (false, false) => Decision::NoOpinion(reason),
        }
    }
}

/// Takes out empty texts, lists and maps, as Go leaves them out.
fn drop_empty(value: &mut Value) {
    let Some(map) = value.as_map_mut() else { return };
    map.iter_mut().for_each(|(_, member)| drop_empty(member));
    map.retain(|_, member| match member {
        Value::Str(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(members) => !members.is_empty(),
        _ => true,
    });
}

fn requirement(key: &str, operator: &str, values: Vec<Value>) -> Value {
    let mut requirement = value!({"key": key, "operator": operator});
    if !values.is_empty() {
        requirement.set_path(&["values"], Value::List(values));
    }
    requirement
}

/// The requirements of a field selector; a text that is none narrows nothing.
fn fields(text: &str) -> Vec<Value> {
    let Ok(selector) = field::Selector::parse(text) else { return Vec::new() };
    let one = |term: &field::Term| {
        let operator = if term.equal { "In" } else { "NotIn" };
        requirement(&term.field, operator, vec![Value::Str(term.value.clone())])
    };
    selector.terms().iter().map(one).collect()
}

/// The requirements of a label selector; a text that is none narrows nothing.
fn labels(text: &str) -> Vec<Value> {
    use label::Operator;
    let Ok(selector) = label::Selector::parse(text) else { return Vec::new() };
    let one = |found: &label::Requirement| {
        let operator = match found.operator() {
            Operator::Equals | Operator::DoubleEquals | Operator::In => "In",
            Operator::NotEquals | Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            // The review has no such operators: the question is then the wider one.
            Operator::GreaterThan | Operator::LessThan => return None,
        };
        let values = found.values().iter().cloned().map(Value::Str).collect();
        Some(requirement(found.key(), operator, values))
    };
    selector.requirements().iter().filter_map(one).collect()
}
