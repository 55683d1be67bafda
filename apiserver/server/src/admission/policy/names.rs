//! What expressions of admission may name: the object before and after, the request, the parameters, the namespace.

use mainstay_apiserver_cel::{Access, AccessQuestion, Environment, EvalError, Val};
use mainstay_apiserver_kinds::{AdmissionNames, NAMESPACE_SHAPE, REQUEST_SHAPE};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;

use crate::admission::told::{self, body_kind};
use crate::types::AdmissionRequest;

/// The trees that the names stand for in one request.
pub(super) struct Seen<'a> {
    pub(super) request: &'a AdmissionRequest,
    /// `request`, see [`review`].
    pub(super) review: &'a Value,
    /// `params`; null without.
    pub(super) params: &'a Value,
    /// `namespaceObject`; null for what is in no namespace.
    pub(super) namespace: &'a Value,
    /// `authorizer`.
    pub(super) access: &'a dyn Access,
}

static NULL: Value = Value::Null;

/// The names of a policy's expressions. What was written before its types were checked still runs: of parameters and
/// variables more is known when a policy is written.
pub(super) fn environment() -> Environment {
    AdmissionNames { params: true, authorizer: true, variables: true }.environment()
}

impl<'a> Seen<'a> {
    /// The values of the names, with `variables` as they are so far.
    pub(super) fn values(&self, variables: &Val<'a>) -> Result<Vec<(&'a str, Val<'a>)>, EvalError> {
        let old = self.request.old.as_ref().unwrap_or(&NULL);
        let about = AccessQuestion {
            group: self.request.kind.group.into(),
            resource: self.request.kind.plural.into(),
            subresource: self.request.subresource.clone(),
            namespace: self.request.namespace.clone(),
            name: self.request.name.clone(),
            ..AccessQuestion::default()
        };
        Ok(vec![
            ("object", Val::new(&self.request.object, None)?),
            ("oldObject", Val::new(old, None)?),
            ("request", Val::new(self.review, Some(&**REQUEST_SHAPE))?),
            ("params", Val::new(self.params, None)?),
            ("namespaceObject", Val::new(self.namespace, Some(&**NAMESPACE_SHAPE))?),
            ("authorizer", Val::authorizer(self.access, about)),
            ("variables", variables.clone()),
        ])
    }
}

/// What expressions see of a request as `request`; `form` is the kind in whose form a rule is about it.
pub(super) fn review(request: &AdmissionRequest, form: &Kind) -> Value {
    let of_resource =
        |kind: &Kind| value!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    value!({
        "kind": body_kind(form, &request.subresource),
        "resource": of_resource(form),
        "subResource": request.subresource.as_str(),
        "requestKind": body_kind(request.kind, &request.subresource),
        "requestResource": of_resource(request.kind),
        "requestSubResource": request.subresource.as_str(),
        "name": request.name.as_str(),
        "namespace": told::namespace(request),
        "operation": request.operation.as_str(),
        "userInfo": value::to_value(&*request.user).unwrap_or_default(),
        "dryRun": request.dry_run,
        "options": request.options.clone(),
    })
}
