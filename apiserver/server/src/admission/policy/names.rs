//! What expressions of admission may name: the object before and after, the request, the parameters, the namespace.

use std::sync::Arc;

use mainstay_apiserver_cel::{Environment, EvalError, Shape, Val, Variable};
use mainstay_apiserver_kinds::ADMISSION_NAMES;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value;
use mainstay_apiserver_machinery::value::Value;

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
}

static NULL: Value = Value::Null;

/// The names of a policy's expressions; all of them are only known when an expression runs.
pub(super) fn environment() -> Environment {
    let any = Arc::new(Shape::any());
    Environment::of(ADMISSION_NAMES.map(|name| Variable::new(name, Arc::clone(&any))).to_vec())
}

impl<'a> Seen<'a> {
    /// The values of the names, with `variables` as they are so far.
    pub(super) fn values(&self, variables: &Val<'a>) -> Result<Vec<(&'a str, Val<'a>)>, EvalError> {
        let old = self.request.old.as_ref().unwrap_or(&NULL);
        Ok(vec![
            ("object", Val::new(&self.request.object, None)?),
            ("oldObject", Val::new(old, None)?),
            ("request", Val::new(self.review, None)?),
            ("params", Val::new(self.params, None)?),
            ("namespaceObject", Val::new(self.namespace, None)?),
            ("variables", variables.clone()),
        ])
    }
}

/// What expressions see of a request as `request`; `form` is the kind in whose form a rule is about it.
pub(super) fn review(request: &AdmissionRequest, form: &Kind) -> Value {
    let of_kind = |kind: &Kind| value!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let of_resource =
        |kind: &Kind| value!({"group": kind.group, "version": kind.version, "resource": kind.plural});
    value!({
        "kind": of_kind(form),
        "resource": of_resource(form),
        "subResource": request.subresource.as_str(),
        "requestKind": of_kind(request.kind),
        "requestResource": of_resource(request.kind),
        "requestSubResource": request.subresource.as_str(),
        "name": request.name.as_str(),
        "namespace": request.namespace.as_str(),
        "operation": request.operation.as_str(),
        "userInfo": value::to_value(&request.user).unwrap_or_default(),
        "dryRun": request.dry_run,
        "options": request.options.clone(),
    })
}
