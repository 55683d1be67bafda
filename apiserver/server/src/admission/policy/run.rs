//! [`Run`]: a policy's expressions over what is seen, within one budget. Pure.

use mainstay_apiserver_cel::{EvalError, Meter, Val};
use smol_str::SmolStr;

use super::conditions::{CALL_COST_MAX, COST_MAX};
use super::names::Seen;
use super::read::{Compiled, Policy};

/// A run of a policy's expressions within one budget.
pub(super) struct Run<'a, 's> {
    seen: &'s Seen<'a>,
    left: u64,
    /// The variables so far, and those that failed.
    variables: Vec<(Val<'a>, Val<'a>)>,
    failed: Vec<(SmolStr, String)>,
}

impl<'a, 's> Run<'a, 's> {
    /// A run whose variables have their values.
    pub(super) fn new(policy: &'a Policy, seen: &'s Seen<'a>) -> Self {
        let mut run = Self { seen, left: COST_MAX, variables: Vec::new(), failed: Vec::new() };
        for (name, program) in &policy.variables {
            match run.value(program) {
                Ok(value) => run.variables.push((Val::Str(name.clone()), value)),
                Err(why) => run.failed.push((name.clone(), why)),
            }
        }
        run
    }

    /// The value of an expression.
    pub(super) fn value(&mut self, program: &'a Compiled) -> Result<Val<'a>, String> {
        let program = program.as_ref().map_err(Clone::clone)?;
        let mut meter = Meter::new(self.left.min(CALL_COST_MAX));
        let variables = Val::Map(self.variables.clone().into());
        let result = self.seen.values(&variables).and_then(|names| program.run(names, &mut meter));
        self.left = self.left.saturating_sub(meter.spent());
        result.map_err(|error| match error {
            EvalError::Budget => {
                "validation failed due to running out of cost budget, no further validation rules \
                                  will be run"
                    .to_owned()
            }
            EvalError::Failed(why) => self.explained(why),
        })
    }

    /// A variable that is missing because it failed is told as that.
    fn explained(&self, why: String) -> String {
        let name = why.strip_prefix("no such key: ").unwrap_or_default();
        match self.failed.iter().find(|(failed, _)| failed == name) {
            Some((name, cause)) => format!("composited variable \"{name}\" fails to evaluate: {cause}"),
            None => why,
        }
    }
}
