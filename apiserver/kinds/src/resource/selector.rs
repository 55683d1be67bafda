//! Selectors of devices: expressions about one device that are true or false, in upstream's words.

use super::list::within;
use mainstay_apiserver_cel::{Environment, Shape, Type, Variable};
use mainstay_apiserver_machinery::validation::{At, ErrorList};
use std::sync::{Arc, LazyLock};

const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;

/// What expressions may name. Attributes and capacities are known by their domains, when an expression runs.
static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let by_domain = || Shape::map(Shape::map(Shape::any(), None), None);
    let device = Shape::object(
        "kubernetes.DRADevice",
        vec![
            Shape::field("driver", Shape::text(None), true),
            Shape::field("attributes", by_domain(), true),
            Shape::field("capacity", by_domain(), true),
            Shape::field("allowMultipleAllocations", Shape::flag(), true),
        ],
    );
    Environment::of(vec![Variable::new("device", Arc::new(device))])
});

/// Checks selectors of devices by themselves.
pub(super) fn validate(selectors: &At<'_>, errors: &mut ErrorList) {
    for selector in within(selectors, SELECTORS_MAX, errors) {
        let cel = selector.get("cel");
        if cel.is_set() {
            validate_expression(&cel.get("expression"), errors);
        } else {
            errors.required(&cel.path, "");
        }
    }
}

fn validate_expression(expression: &At<'_>, errors: &mut ErrorList) {
    if expression.text().len() > EXPRESSION_BYTES_MAX {
        errors.too_long(&expression.path, EXPRESSION_BYTES_MAX);
        return;
    }
    match ENVIRONMENT.compile(expression.text()) {
        Err(error) => expression.invalid(errors, &format!("compilation failed: {error}")),
        Ok(program) if !matches!(program.result(), Type::Bool | Type::Dyn) => {
            let text = format!("must evaluate to bool or the unknown type, not {}", program.result());
            expression.invalid(errors, &text);
        }
        Ok(_) => {}
    }
}
