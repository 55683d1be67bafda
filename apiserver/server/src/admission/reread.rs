//! [`reread`]: what a webhook or policy made of an object, as if a client had sent it.

use mainstay_apiserver_machinery::defaults;
use mainstay_apiserver_machinery::json::{self, Strictness};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use mainstay_proto_api::Status;

use crate::types::AdmissionRequest;

/// Reads a patched tree as an object again, with its defaults.
pub(super) fn reread(
    patched: &Value,
    form: &'static Kind,
    request: &AdmissionRequest,
) -> Result<Value, Status> {
    let sub = form.subresource(&request.subresource);
    let own = sub.is_none_or(|sub| sub.kind == form.kind && sub.group == form.group);
    if !own {
        return Ok(patched.clone());
    }
    let schema = form.schema();
    let mut object = json::conform(patched, schema, Strictness::Ignore).map_err(Status::internal)?.value;
    defaults::apply(&mut object, schema);
    form.rules.default(&mut object);
    Ok(object)
}
