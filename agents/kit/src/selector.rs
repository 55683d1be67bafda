//! Label selectors of typed objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use mainstay_proto_api::label::{Operator, Requirement, Selector, SelectorError};

/// The selector that a spec states: absent matches nothing, empty matches everything.
///
/// # Errors
/// A key, operator or value that the API would refuse.
pub fn selector_of(spec: Option<&LabelSelector>) -> Result<Selector, SelectorError> {
    let Some(spec) = spec else { return Ok(Selector::nothing()) };
    let mut requirements = Vec::new();
    for (key, value) in spec.match_labels.iter().flatten() {
        requirements.push(Requirement::new(key.as_str(), Operator::Equals, vec![value.as_str().into()])?);
    }
    for expression in spec.match_expressions.iter().flatten() {
        let values: Vec<_> = expression.values.iter().flatten().map(|value| value.as_str().into()).collect();
        let operator = match expression.operator.as_str() {
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            // Anything else is refused by the requirement itself, as `In` needs values.
            _ => Operator::In,
        };
        requirements.push(Requirement::new(expression.key.as_str(), operator, values)?);
    }
    Ok(Selector::new(requirements))
}
