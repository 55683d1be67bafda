//! The expressions of policies and match conditions: the names that they may use, and the check that they compile to what
//! is wanted, in upstream's words. Whoever runs them uses the same names.

use mainstay_apiserver_cel::{Environment, Shape, Type, Variable};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use std::sync::Arc;

/// What expressions of admission may name; all of it is only known when an expression runs. Upstream has `authorizer`
/// besides: an expression that asks it is refused.
pub const ADMISSION_NAMES: [&str; 6] =
    ["object", "oldObject", "request", "params", "namespaceObject", "variables"];

/// Compiles expressions of one object.
pub(super) struct Expressions {
    environment: Environment,
}

impl Expressions {
    /// Expressions with `params` where the object has any, and with the `variables` of a policy.
    pub(super) fn new(has_params: bool, has_variables: bool) -> Self {
        let any = Arc::new(Shape::any());
        let allowed = |name: &&&str| match **name {
            "params" => has_params,
            "variables" => has_variables,
            _ => true,
        };
        let names = ADMISSION_NAMES.iter().filter(allowed);
        let variables = names.map(|name| Variable::new(name, Arc::clone(&any))).collect();
        Self { environment: Environment::of(variables) }
    }

    /// The same, for expressions that make objects.
    pub(super) fn making_objects(self) -> Self {
        Self { environment: self.environment.making_objects() }
    }

    /// Checks that there is an expression and that it gives `wanted`, or anything where none is stated.
    pub(super) fn check(&self, expression: &At<'_>, wanted: Option<&Type>, errors: &mut ErrorList) {
        if expression.text().trim().is_empty() {
            errors.required(&expression.path, "");
            return;
        }
        match self.environment.compile(expression.text()) {
            Err(error) => expression.invalid(errors, &format!("compilation failed: {error}")),
            Ok(program) => {
                if let Some(wanted) = wanted
                    && !gives(program.result(), wanted)
                {
                    let found = program.result();
                    expression.invalid(errors, &format!("must evaluate to {wanted} but got {found}"));
                }
            }
        }
    }
}

/// Whether a result is of a type. Parameters and variables are only known at run time, so what depends on them fits.
fn gives(found: &Type, wanted: &Type) -> bool {
    match (found, wanted) {
        (Type::Dyn, _) => true,
        (Type::List(found), Type::List(wanted)) => gives(found, wanted),
        (Type::Made(found), Type::Made(wanted)) => found == wanted,
        _ => std::mem::discriminant(found) == std::mem::discriminant(wanted),
    }
}
