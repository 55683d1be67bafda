//! What one mutation of a policy makes of an object. Pure.

use mainstay_apiserver_cel::Val;
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::object::MetaMut;
use mainstay_apiserver_machinery::patch::{self, PatchError};
use mainstay_apiserver_machinery::pipeline;
use mainstay_apiserver_machinery::value::Value;

use super::names::Seen;
use super::read::{Mutation, Policy};
use super::run::Run;

/// The object that a mutation makes of the one that is seen, which is of `kind`; none when a test of its patch fails.
///
/// # Errors
/// Upstream's text when the expression fails, or gives what cannot be laid over the object.
pub(super) fn mutated<'a>(
    (policy, mutation): (&'a Policy, &'a Mutation),
    seen: &Seen<'a>,
    kind: &'static Kind,
) -> Result<Option<Value>, String> {
    let mut run = Run::new(policy, seen);
    let object = &seen.request.object;
    match mutation {
        Mutation::Apply(program) => {
            let value = run.value(program)?;
            value.check_made_names().map_err(|why| format!("type mismatch: {why}"))?;
            if value.made_type().is_none_or(|name| name != "Object") {
                return Err(format!(
                    "unsupported return type from ApplyConfiguration expression: {}",
                    value.type_name()
                ));
            }
            let mut config = value.to_tree()?;
            MetaMut(&mut config).set_type(&kind.api_version(), kind.kind);
            let laid = pipeline::lay_over(kind, object, &config);
            laid.map(Some).map_err(|error| format!("error applying patch: {error}"))
        }
        Mutation::Patch(program) => match patch::json_patch(object, &operations(&run.value(program)?)?) {
            Ok(patched) => Ok(Some(patched)),
            Err(PatchError::TestFailed { .. }) => Ok(None),
            Err(error) => Err(format!("JSON Patch: {error}")),
        },
    }
}

/// The operations of a patch that an expression made.
fn operations(value: &Val<'_>) -> Result<Value, String> {
    let Val::List(steps) = value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let step = |step: &Val<'_>| {
        if step.made_type().is_none_or(|name| name != "JSONPatch") {
            return Err(format!(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of {}",
                step.type_name()
            ));
        }
        if let Some(Ok(value)) = step.field("value") {
            value.check_made_names().map_err(|why| format!("type mismatch: {why}"))?;
        }
        step.to_tree()
    };
    steps.iter().map(step).collect::<Result<_, _>>().map(Value::List)
}
