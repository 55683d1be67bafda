//! Calling a function by its name: its cost first, then the family that knows it.

use super::{access, convert, formats, lists, network, quantity, semver, strings, times};
use crate::cost::{CHECK_COST, quarter, selector_cost, tenth};
use crate::eval::{EvalError, Meter, failed};
use crate::signatures::{Cost, SIGNATURES};
use crate::value::Val;
use smol_str::SmolStr;
use std::collections::HashMap;

pub(super) type Called<'a> = Result<Val<'a>, EvalError>;

/// Bytes that one compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Expressions compiled ahead, by their text.
pub(crate) type Patterns = HashMap<SmolStr, regex::Regex>;

/// Calls a function.
pub(crate) fn call<'a>(
    function: &str,
    is_member: bool,
    args: &[Val<'a>],
    (patterns, meter): (&Patterns, &mut Meter),
) -> Called<'a> {
    charge(function, args, meter)?;
    if let Some(result) = strings::search(function, args, patterns) {
        return result;
    }
    let families = [
        convert::call,
        strings::call,
        lists::call,
        times::call,
        network::call,
        quantity::call,
        semver::call,
        formats::call,
        access::call,
        optionals,
    ];
    for family in families {
        if let Some(result) = family(function, is_member, args) {
            return result;
        }
    }
    failed("no such overload")
}

fn charge(function: &str, args: &[Val<'_>], meter: &mut Meter) -> Result<(), EvalError> {
    let size = |at: usize| args.get(at).map_or(1, Val::size);
    let signature = SIGNATURES.iter().find(|one| one.name == function && one.params.len() == args.len());
    let cost = match signature.map_or(Cost::Call, |one| one.cost) {
        Cost::Call => 1,
        Cost::Walk => tenth(size(0)),
        Cost::Search => tenth(size(0)).saturating_mul(tenth(size(1))),
        Cost::Regex => tenth(size(0).saturating_add(1)).saturating_mul(quarter(size(1))),
        Cost::Items => size(0),
        Cost::Pairs => size(0).saturating_mul(size(1)),
        Cost::Check => CHECK_COST,
        Cost::Selector => selector_cost(size(1)),
    };
    meter.charge(cost.max(1))
}

fn optionals<'a>(function: &str, _is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    Some(match (function, args) {
        ("optional.of", [value]) => Ok(Val::optional(Some(value.clone()))),
        ("optional.none", []) => Ok(Val::optional(None)),
        ("optional.ofNonZeroValue", [value]) => {
            let is_zero = match value {
                Val::Null => true,
                Val::Bool(flag) => !flag,
                Val::Int(number) => *number == 0,
                Val::Uint(number) => *number == 0,
                Val::Double(number) => *number == 0.0,
                Val::Str(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_) | Val::Tree(..) => value.size() == 0,
                _ => false,
            };
            Ok(Val::optional((!is_zero).then(|| value.clone())))
        }
        ("hasValue", [Val::Optional(inner)]) => Ok(Val::Bool(inner.is_some())),
        ("value", [Val::Optional(inner)]) => match inner {
            Some(inner) => Ok((**inner).clone()),
            None => failed("optional.none() dereference"),
        },
        _ => return None,
    })
}

/// A compiled expression of RE2's kind: linear in time, bounded in memory.
pub(crate) fn regex(text: &str) -> Result<regex::Regex, EvalError> {
    regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build().map_err(|error| {
        let reason = error.to_string();
        EvalError::Failed(format!("error parsing regexp: {}", reason.lines().last().unwrap_or_default()))
    })
}

pub(super) fn text<'a>(value: impl Into<SmolStr>) -> Val<'a> {
    Val::Str(value.into())
}
