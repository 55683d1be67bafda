//! Kinds that carry a request and its answer and are never stored: reviews, token requests, bindings, evictions
//! and scales. Here is what a request must look like; the answers are the server's.

use crate::shape::{CREATE, REQUEST};
use crate::table;
use mainstay_apiserver_machinery::kind::{Column, Kind, Rules};
use mainstay_apiserver_machinery::object::Meta;
use mainstay_apiserver_machinery::validation::{At, ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use time::OffsetDateTime;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// authentication.k8s.io/v1 TokenReview: whose is this token?
pub static TOKEN_REVIEW: Kind = Kind {
    group: AUTHENTICATION,
    kind: "TokenReview",
    plural: "tokenreviews",
    singular: "tokenreview",
    type_name: "authentication.k8s.io/v1.TokenReview",
    ..REQUEST
};

/// authentication.k8s.io/v1 SelfSubjectReview: who am I?
pub static SELF_SUBJECT_REVIEW: Kind = Kind {
    group: AUTHENTICATION,
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    type_name: "authentication.k8s.io/v1.SelfSubjectReview",
    ..REQUEST
};

/// authorization.k8s.io/v1 SubjectAccessReview: may somebody do this?
pub static SUBJECT_ACCESS_REVIEW: Kind = Kind {
    group: AUTHORIZATION,
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    type_name: "authorization.k8s.io/v1.SubjectAccessReview",
    rules: &AccessReview { names_subject: true, local: false },
    ..REQUEST
};

/// authorization.k8s.io/v1 LocalSubjectAccessReview: may somebody do this in one namespace?
pub static LOCAL_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    group: AUTHORIZATION,
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    namespaced: true,
    type_name: "authorization.k8s.io/v1.LocalSubjectAccessReview",
    rules: &AccessReview { names_subject: true, local: true },
    ..REQUEST
};

/// authorization.k8s.io/v1 SelfSubjectAccessReview: may I do this?
pub static SELF_SUBJECT_ACCESS_REVIEW: Kind = Kind {
    group: AUTHORIZATION,
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    type_name: "authorization.k8s.io/v1.SelfSubjectAccessReview",
    rules: &AccessReview { names_subject: false, local: false },
    ..REQUEST
};

/// authorization.k8s.io/v1 SelfSubjectRulesReview: what may I do?
pub static SELF_SUBJECT_RULES_REVIEW: Kind = Kind {
    group: AUTHORIZATION,
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    type_name: "authorization.k8s.io/v1.SelfSubjectRulesReview",
    ..REQUEST
};

/// core/v1 Binding: this pod runs on that node.
pub static BINDING: Kind = Kind {
    kind: "Binding",
    plural: "bindings",
    singular: "binding",
    namespaced: true,
    type_name: "core/v1.Binding",
    rules: &Binding,
    ..REQUEST
};

/// authentication.k8s.io/v1 TokenRequest; the body of `serviceaccounts/token`.
pub static TOKEN_REQUEST: Kind = Kind {
    group: AUTHENTICATION,
    kind: "TokenRequest",
    namespaced: true,
    type_name: "authentication.k8s.io/v1.TokenRequest",
    verbs: CREATE,
    rules: &TokenRequest,
    ..REQUEST
};

/// policy/v1 Eviction; the body of `pods/eviction`.
pub static EVICTION: Kind =
    Kind { group: "policy", kind: "Eviction", namespaced: true, type_name: "policy/v1.Eviction", ..REQUEST };

/// autoscaling/v1 Scale; the body of `scale` subresources.
pub static SCALE: Kind = Kind {
    group: "autoscaling",
    kind: "Scale",
    namespaced: true,
    type_name: "autoscaling/v1.Scale",
    verbs: &["get", "patch", "update"],
    rules: &Scale,
    ..REQUEST
};

struct AccessReview {
    /// Whether the request says who; else it is about who asks.
    names_subject: bool,
    /// Whether the request is about one namespace.
    local: bool,
}

impl Rules for AccessReview {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let spec = At::root(object).get("spec");
        let (resource, other) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
        if resource.is_set() && other.is_set() {
            other.invalid(errors, "cannot be specified in combination with resourceAttributes");
        }
        if !resource.is_set() && !other.is_set() {
            resource.invalid(
                errors,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            );
        }
        if self.names_subject && spec.get("user").is_empty() && spec.get("groups").is_empty() {
            errors.invalid(&spec.path.child("user"), "", "at least one of user or group must be specified");
        }
        validate_no_metadata(object, self.local, errors);
        if self.local {
            let namespace = resource.get("namespace");
            if resource.is_set() && namespace.text() != Meta(object).namespace() {
                errors.invalid(&namespace.path, namespace.text(), "must match metadata.namespace");
            }
            if other.is_set() {
                other.invalid(errors, "disallowed on this kind of request");
            }
        }
    }
}

/// Checks that a request carries no metadata (but its namespace, when it is about one).
fn validate_no_metadata(object: &Value, local: bool, errors: &mut ErrorList) {
    let meta = object.path_map(&["metadata"]);
    let extra = meta.into_iter().flatten().any(|(key, value)| {
        !(value.is_empty()
            || key == "managedFields"
            || key == "creationTimestamp"
            || (local && key == "namespace"))
    });
    if extra {
        let meta = object.path(&["metadata"]).cloned().unwrap_or(Value::Null);
        let detail = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid(&Path::new("metadata"), meta, detail);
    }
}

struct TokenRequest;

const EXPIRATION_SECONDS_MIN: i64 = 600;
const EXPIRATION_SECONDS_MAX: i64 = 1 << 32;

impl Rules for TokenRequest {
    fn default(&self, object: &mut Value) {
        if object.path(&["spec", "expirationSeconds"]).is_none_or(Value::is_null) {
            object.set_path(&["spec", "expirationSeconds"], 3600);
        }
    }

    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let seconds = At::root(object).dig(&["spec", "expirationSeconds"]);
        let value = seconds.int().unwrap_or_default();
        if value < EXPIRATION_SECONDS_MIN {
            errors.invalid(&seconds.path, value, "may not specify a duration less than 10 minutes");
        }
        if value > EXPIRATION_SECONDS_MAX {
            errors.invalid(&seconds.path, value, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

struct Binding;

impl Rules for Binding {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let target = At::root(object).get("target");
        let kind = target.get("kind");
        if !kind.is_empty() && kind.text() != "Node" {
            errors.not_supported(&kind.path, kind.text(), &["Node", "<empty>"]);
        }
        target.get("name").require(errors, "");
    }
}

struct Scale;

impl Rules for Scale {
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        At::root(object).dig(&["spec", "replicas"]).non_negative(errors);
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::object_name(),
            Column::new("Desired", "Pods that are wanted.").of_type("integer"),
            Column::new("Available", "Pods that exist.").of_type("integer"),
            Column::new("Age", "Time since the object was created."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: OffsetDateTime) -> Vec<Value> {
        vec![
            table::name(object),
            table::number(object, &["spec", "replicas"]),
            table::number(object, &["status", "replicas"]),
            table::age(object, now),
        ]
    }
}
