//! Holding one request against one policy with one set of parameters. Pure.

use mainstay_apiserver_cel::Val;
use smol_str::SmolStr;

use super::conditions::Met;
use super::names::Seen;
use super::read::{Policy, Validation};
use super::run::Run;

/// Why a policy is against a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    pub(super) message: String,
    /// The reason of the refusal; empty for the usual one.
    pub(super) reason: SmolStr,
}

/// What a policy says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opinion {
    /// It is not about the request, or has nothing against it.
    Fine,
    /// What it has against it.
    Against(Vec<Objection>),
}

/// What `policy` says of what is seen.
pub(super) fn evaluate<'a>(policy: &'a Policy, seen: &Seen<'a>) -> Opinion {
    match policy.conditions.hold(seen) {
        Met::All => {}
        Met::No => return Opinion::Fine,
        Met::Failed(_) if policy.fails_open => return Opinion::Fine,
        Met::Failed(message) => {
            return Opinion::Against(vec![Objection { message, reason: SmolStr::default() }]);
        }
    }
    let mut run = Run::new(policy, seen);
    let objections =
        policy.validations.iter().filter_map(|one| run.objection(policy, one)).collect::<Vec<_>>();
    if objections.is_empty() { Opinion::Fine } else { Opinion::Against(objections) }
}

impl<'a> Run<'a, '_> {
    fn objection(&mut self, policy: &Policy, validation: &'a Validation) -> Option<Objection> {
        let message = match self.value(&validation.program) {
            Ok(Val::Bool(true)) => return None,
            Ok(Val::Bool(false)) => {
                let message = self.message(validation);
                return Some(Objection { message, reason: validation.reason.clone() });
            }
            Ok(other) => format!("expression '{}' gives a {}", validation.text, other.type_name()),
            Err(why) => format!("expression '{}' resulted in error: {why}", validation.text),
        };
        (!policy.fails_open).then(|| Objection { message, reason: SmolStr::default() })
    }

    fn message(&mut self, validation: &'a Validation) -> String {
        if let Some(program) = &validation.message_program
            && let Ok(Val::Str(text)) = self.value(program)
            && !text.trim().is_empty()
            && !text.contains('\n')
        {
            return text.trim().to_owned();
        }
        match validation.message.trim() {
            "" => format!("failed expression: {}", validation.text.trim()),
            message => message.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::review;
    use super::*;
    use crate::types::{AdmissionRequest, Marks, Operation, Reinvocation, UserInfo, Warnings};
    use mainstay_apiserver_kinds::CONFIG_MAP;
    use mainstay_apiserver_machinery::value;
    use mainstay_apiserver_machinery::value::Value;

    fn opinion(spec: &Value, object: &Value, params: &Value) -> Opinion {
        let policy = Policy::read(&value!({"metadata": {"name": "p"}, "spec": spec.clone()})).unwrap();
        let request = AdmissionRequest {
            kind: &CONFIG_MAP,
            subresource: "".into(),
            operation: Operation::Create,
            namespace: "default".into(),
            name: "c".into(),
            object: object.clone(),
            old: None,
            user: UserInfo::new("jane", ["dev"]),
            dry_run: false,
            options: Value::Null,
            warnings: Warnings::default(),
            marks: Marks::default(),
            reinvocation: Reinvocation::default(),
        };
        let review = review(&request, &CONFIG_MAP);
        evaluate(&policy, &Seen { request: &request, review: &review, params, namespace: &Value::Null })
    }

    #[test]
    fn validations_conditions_and_variables_work_together() {
        let spec = value!({
            "matchConditions": [{"name": "not-ops", "expression": "!('ops' in request.userInfo.groups)"}],
            "variables": [{"name": "size", "expression": "size(object.data)"}, {"name": "bad", "expression": "object.nope.x"}],
            "validations": [
                {"expression": "variables.size <= params.max", "messageExpression": "'%d entries, at most %d'.format([variables.size, params.max])", "reason": "Forbidden"},
                {"expression": "!has(object.data.secret)", "message": " no secrets "},
                {"expression": "variables.bad == 1"}],
        });
        let object = value!({"metadata": {"name": "c"}, "data": {"a": "1", "secret": "2"}});
        let Opinion::Against(objections) = opinion(&spec, &object, &value!({"max": 1})) else {
            panic!("fine")
        };
        let texts: Vec<&str> = objections.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            texts,
            [
                "2 entries, at most 1",
                "no secrets",
                "expression 'variables.bad == 1' resulted in error: composited variable \"bad\" fails to evaluate: no such key: nope",
            ]
        );
        assert_eq!(objections.first().map(|one| one.reason.as_str()), Some("Forbidden"));
        let open = value!({"failurePolicy": "Ignore", "validations": [{"expression": "object.nope"}]});
        assert_eq!(opinion(&open, &object, &Value::Null), Opinion::Fine);
        let dev = value!({"matchConditions": [{"name": "x", "expression": "!('dev' in request.userInfo.groups)"}],
            "validations": [{"expression": "false"}]});
        assert_eq!(opinion(&dev, &object, &Value::Null), Opinion::Fine);
    }
}
