//! Resource amounts.

use super::dispatch::Called;
use crate::eval::failed;
use crate::value::Val;
use mainstay_proto_api::Quantity;
use std::cmp::Ordering;

pub(super) fn call<'a>(function: &str, _is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    Some(match (function, args) {
        ("quantity", [Val::Str(text)]) => match text.parse() {
            Ok(quantity) => Ok(Val::Quantity(quantity)),
            Err(_) => failed(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
        },
        ("isQuantity", [Val::Str(text)]) => Ok(Val::Bool(text.parse::<Quantity>().is_ok())),
        ("sign", [Val::Quantity(one)]) => Ok(Val::Int(order(one.cmp(&Quantity::default())))),
        ("add", [Val::Quantity(one), other]) => amount(other).map(|other| Val::Quantity(one.plus(other))),
        ("sub", [Val::Quantity(one), other]) => amount(other).map(|other| Val::Quantity(one.minus(other))),
        ("compareTo", [Val::Quantity(one), Val::Quantity(other)]) => Ok(Val::Int(order(one.cmp(other)))),
        ("isGreaterThan", [Val::Quantity(one), Val::Quantity(other)]) => Ok(Val::Bool(one > other)),
        ("isLessThan", [Val::Quantity(one), Val::Quantity(other)]) => Ok(Val::Bool(one < other)),
        ("isInteger", [Val::Quantity(one)]) => Ok(Val::Bool(one.is_whole())),
        ("asInteger", [Val::Quantity(one)]) if one.is_whole() => Ok(Val::Int(one.value())),
        ("asInteger", [Val::Quantity(_)]) => failed("cannot convert value to integer"),
        ("asApproximateFloat", [Val::Quantity(one)]) => Ok(Val::Double(one.as_f64())),
        _ => return None,
    })
}

fn amount(value: &Val<'_>) -> Result<Quantity, crate::eval::EvalError> {
    match value {
        Val::Quantity(quantity) => Ok(*quantity),
        Val::Int(number) => Ok(Quantity::new(*number, mainstay_proto_api::Format::DecimalSi)),
        _ => failed("no such overload"),
    }
}

pub(super) const fn order(order: Ordering) -> i64 {
    match order {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}
