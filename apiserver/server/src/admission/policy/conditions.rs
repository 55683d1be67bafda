//! Match conditions: all of them must hold for a policy or webhook to look at a request.

use mainstay_apiserver_cel::{EvalError, Meter, Program, Val};
use mainstay_apiserver_machinery::kind::Kind;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;

use super::answers::Answers;
use super::names::{Seen, environment, review};
use crate::types::{AdmissionRequest, Authorize};

/// What all conditions of one policy or webhook may cost.
pub(super) const COST_MAX: u64 = 10_000_000;
/// What one expression may cost.
pub(super) const CALL_COST_MAX: u64 = 1_000_000;

/// Conditions, compiled.
#[derive(Debug, Clone, Default)]
pub(in crate::admission) struct Conditions {
    list: Vec<(SmolStr, Result<Program, String>)>,
}

/// Whether the conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admission) enum Met {
    /// All hold.
    All,
    /// One does not.
    No,
    /// None is false, and one cannot be evaluated.
    Failed(String),
}

impl Conditions {
    /// Compiles `matchConditions`.
    pub(in crate::admission) fn read(list: &[Value]) -> Self {
        let environment = environment();
        let one = |condition: &Value| {
            let text = condition.path_str(&["expression"]).unwrap_or_default();
            let program = environment.compile(text).map_err(|error| error.to_string());
            (condition.path_str(&["name"]).unwrap_or_default().into(), program)
        };
        Self { list: list.iter().map(one).collect() }
    }

    /// Whether the conditions hold for a request that parameters have no part in.
    pub(in crate::admission) async fn met(
        &self,
        request: &AdmissionRequest,
        form: &Kind,
        authorizer: &dyn Authorize,
    ) -> Met {
        if self.list.is_empty() {
            return Met::All;
        }
        let answers = Answers::new(authorizer, request);
        let review = review(request, form);
        let null = Value::Null;
        let seen = Seen { request, review: &review, params: &null, namespace: &null, access: &answers };
        answers.settled(|| self.hold(&seen)).await
    }

    pub(super) fn hold(&self, seen: &Seen<'_>) -> Met {
        let none = Val::Map(std::sync::Arc::from([]));
        let mut left = COST_MAX;
        let mut failed = None;
        for (name, program) in &self.list {
            let mut meter = Meter::new(left.min(CALL_COST_MAX));
            let result = match program {
                Ok(program) => seen.values(&none).and_then(|names| program.run(names, &mut meter)),
                Err(why) => Err(EvalError::Failed(why.clone())),
            };
            left = left.saturating_sub(meter.spent());
            match result {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Met::No,
                Ok(other) => failed = Some(format!("match condition '{name}' gives a {}", other.type_name())),
                Err(error) => failed = Some(format!("match condition '{name}' resulted in error: {error}")),
            }
        }
        failed.map_or(Met::All, Met::Failed)
    }
}
