//! Holding one request against one policy with one set of parameters. Pure.

use mainstay_apiserver_cel::Val;
use smol_str::SmolStr;

use super::conditions::Met;
use super::names::Seen;
use super::read::{Note, Policy, Validation};
use super::run::Run;

/// Why a policy is against a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    /// Which of the policy's validations it is.
    pub(super) index: usize,
    pub(super) message: String,
    /// The reason of the refusal; empty for the usual one.
    pub(super) reason: SmolStr,
}

/// What a policy says of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Opinion {
    /// What it has against it.
    pub(super) objections: Vec<Objection>,
    /// What the audit log is told, by key.
    pub(super) notes: Vec<(SmolStr, String)>,
    /// Why something cannot be told.
    pub(super) failed_notes: Vec<String>,
}

impl Opinion {
    /// The opinion of a policy that cannot be evaluated.
    pub(super) fn failed(message: String) -> Self {
        let objection = Objection { index: 0, message, reason: SmolStr::default() };
        Self { objections: vec![objection], ..Self::default() }
    }
}

/// What `policy` says of what is seen; nothing where it is not about the request.
pub(super) fn evaluate<'a>(policy: &'a Policy, seen: &Seen<'a>) -> Opinion {
    match policy.conditions.hold(seen) {
        Met::All => {}
        Met::No => return Opinion::default(),
        Met::Failed(_) if policy.fails_open => return Opinion::default(),
        Met::Failed(message) => return Opinion::failed(message),
    }
    let mut run = Run::new(policy, seen);
    let validations = policy.validations.iter().enumerate();
    let objections = validations.filter_map(|(at, one)| run.objection(policy, at, one)).collect();
    let mut opinion = Opinion { objections, ..Opinion::default() };
    for note in &policy.notes {
        match run.note(note) {
            Ok(Some(text)) => opinion.notes.push((note.key.clone(), text)),
            Ok(None) => {}
            Err(why) if policy.fails_open && why.is_failure => {}
            Err(why) => opinion.failed_notes.push(why.text),
        }
    }
    opinion
}

/// Why a note has no value.
struct NoNote {
    text: String,
    /// Whether the expression failed; it gave something that is no text otherwise.
    is_failure: bool,
}

impl<'a> Run<'a, '_> {
    fn objection(&mut self, policy: &Policy, index: usize, validation: &'a Validation) -> Option<Objection> {
        let message = match self.value(&validation.program) {
            Ok(Val::Bool(true)) => return None,
            Ok(Val::Bool(false)) => {
                let message = self.message(validation);
                return Some(Objection { index, message, reason: validation.reason.clone() });
            }
            Ok(other) => format!("expression '{}' gives a {}", validation.text, other.type_name()),
            Err(why) => format!("expression '{}' resulted in error: {why}", validation.text),
        };
        (!policy.fails_open).then(|| Objection { index, message, reason: SmolStr::default() })
    }

    /// What a note says; nothing where it is null or empty.
    fn note(&mut self, note: &'a Note) -> Result<Option<String>, NoNote> {
        match self.value(&note.program) {
            Ok(Val::Null) => Ok(None),
            Ok(Val::Str(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Ok(other) => Err(NoNote {
                text: format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be \
                     either string or null.",
                    note.text,
                    other.type_name()
                ),
                is_failure: false,
            }),
            Err(why) => {
                let text = format!("expression '{}' resulted in error: {why}", note.text);
                Err(NoNote { text, is_failure: true })
            }
        }
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
    use super::super::answers::Answers;
    use super::super::answers::tests::Reads;
    use super::super::names::review;
    use super::*;
    use std::sync::Arc;

    use crate::types::{AdmissionRequest, Marks, Operation, Reinvocation, UserInfo, Warnings};
    use mainstay_apiserver_kinds::CONFIG_MAP;
    use mainstay_apiserver_machinery::value;
    use mainstay_apiserver_machinery::value::Value;

    async fn opinion(spec: &Value, object: &Value, params: &Value, waits: bool) -> Opinion {
        let policy = Policy::read(&value!({"metadata": {"name": "p"}, "spec": spec.clone()})).unwrap();
        let request = AdmissionRequest {
            kind: &CONFIG_MAP,
            subresource: "".into(),
            operation: Operation::Create,
            namespace: "default".into(),
            name: "c".into(),
            object: object.clone(),
            old: None,
            user: Arc::new(UserInfo::new("jane", ["dev"])),
            dry_run: false,
            options: Value::Null,
            warnings: Warnings::default(),
            marks: Marks::default(),
            reinvocation: Reinvocation::default(),
        };
        let review = review(&request, &CONFIG_MAP);
        let reads = Reads { waits };
        let answers = Answers::new(&reads, &request);
        let (request, namespace) = (&request, &Value::Null);
        let seen = Seen { request, review: &review, params, namespace, access: &answers };
        answers.settled(|| evaluate(&policy, &seen)).await
    }

    #[tokio::test]
    async fn validations_conditions_and_variables_work_together() {
        let spec = value!({
            "matchConditions": [{"name": "not-ops", "expression": "!('ops' in request.userInfo.groups)"}],
            "variables": [{"name": "size", "expression": "size(object.data)"}, {"name": "bad", "expression": "object.nope.x"}],
            "validations": [
                {"expression": "variables.size <= params.max", "messageExpression": "'%d entries, at most %d'.format([variables.size, params.max])", "reason": "Forbidden"},
                {"expression": "!has(object.data.secret)", "message": " no secrets "},
                {"expression": "variables.bad == 1"}],
        });
        let object = value!({"metadata": {"name": "c"}, "data": {"a": "1", "secret": "2"}});
        let objections = opinion(&spec, &object, &value!({"max": 1}), false).await.objections;
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
        assert_eq!(opinion(&open, &object, &Value::Null, false).await, Opinion::default());
        let dev = value!({"matchConditions": [{"name": "x", "expression": "!('dev' in request.userInfo.groups)"}],
            "validations": [{"expression": "false"}]});
        assert_eq!(opinion(&dev, &object, &Value::Null, false).await, Opinion::default());
    }

    #[tokio::test]
    async fn expressions_ask_the_authorizer_and_tell_the_audit_log() {
        let spec = value!({
            "variables": [{"name": "reads", "expression": "authorizer.group('').resource('pods').namespace('x').check('get')"}],
            "validations": [
                {"expression": "variables.reads.allowed() && variables.reads.reason() == 'it reads'"},
                {"expression": "authorizer.path('/healthz').check('post').allowed()", "message": "no post"},
                {"expression": "authorizer.requestResource.check('get').allowed()"},
                {"expression": "authorizer.serviceAccount('x', 'y').group('apps').resource('deployments').check('get').errored()",
                 "message": "no error"}],
            "auditAnnotations": [
                {"key": "who", "valueExpression": "' ' + request.userInfo.username + ' '"},
                {"key": "none", "valueExpression": "null"},
                {"key": "empty", "valueExpression": "''"},
                {"key": "wrong", "valueExpression": "object.nope"}],
        });
        for waits in [false, true] {
            let found = opinion(&spec, &value!({"metadata": {"name": "c"}}), &Value::Null, waits).await;
            let texts: Vec<(usize, &str)> =
                found.objections.iter().map(|one| (one.index, one.message.as_str())).collect();
            assert_eq!(texts, [(1, "no post"), (3, "no error")], "waits: {waits}");
            assert_eq!(found.notes, [("who".into(), "jane".to_owned())]);
            assert_eq!(found.failed_notes, ["expression 'object.nope' resulted in error: no such key: nope"]);
        }
    }
}
