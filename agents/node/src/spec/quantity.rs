//! Reading quantities of API objects as whole numbers.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A quantity that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("quantity {0:?} cannot be read")]
pub(crate) struct QuantityError(String);

/// In whole units, rounded up.
pub(crate) fn value(quantity: &Quantity) -> Result<i64, QuantityError> {
    parse(quantity).map(|q| q.value())
}

/// In thousandths, rounded up.
pub(crate) fn milli(quantity: &Quantity) -> Result<i64, QuantityError> {
    parse(quantity).map(|q| q.milli_value())
}

fn parse(quantity: &Quantity) -> Result<mainstay_proto_api::Quantity, QuantityError> {
    quantity.0.parse().map_err(|_unreadable| QuantityError(quantity.0.clone()))
}
