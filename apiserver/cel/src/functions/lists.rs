//! Lists and sets.

use super::dispatch::Called;
use crate::eval::failed;
use crate::value::Val;
use std::cmp::Ordering;
use time::Duration;

pub(super) fn call<'a>(function: &str, _is_member: bool, args: &[Val<'a>]) -> Option<Called<'a>> {
    let items = match args.first()?.items()? {
        Ok(items) => items,
        Err(why) => return Some(failed(why)),
    };
    Some(match (function, args.get(1..).unwrap_or_default()) {
        ("isSorted", []) => sorted(&items),
        ("sum", []) => sum(&items),
        ("min", []) => extreme(&items, Ordering::Less, "min called on empty list"),
        ("max", []) => extreme(&items, Ordering::Greater, "max called on empty list"),
        ("indexOf", [wanted]) => {
            let at = items.iter().position(|item| item.equals(wanted));
            Ok(Val::Int(at.map_or(-1, |at| at as i64)))
        }
        ("lastIndexOf", [wanted]) => {
            let at = items.iter().rposition(|item| item.equals(wanted));
            Ok(Val::Int(at.map_or(-1, |at| at as i64)))
        }
        ("sets.contains" | "sets.equivalent" | "sets.intersects", [other]) => {
            let other = match other.items()? {
                Ok(items) => items,
                Err(why) => return Some(failed(why)),
            };
            let has = |list: &[Val<'a>], wanted: &Val<'a>| list.iter().any(|item| item.equals(wanted));
            Ok(Val::Bool(match function {
                "sets.contains" => other.iter().all(|item| has(&items, item)),
                "sets.intersects" => other.iter().any(|item| has(&items, item)),
                _ => other.iter().all(|item| has(&items, item)) && items.iter().all(|item| has(&other, item)),
            }))
        }
        _ => return None,
    })
}

fn sorted<'a>(items: &[Val<'a>]) -> Called<'a> {
    for pair in items.windows(2) {
        let [one, next] = pair else { continue };
        match one.compare(next) {
            Some(Ordering::Greater) => return Ok(Val::Bool(false)),
            Some(_) => {}
            None => return failed("no such overload"),
        }
    }
    Ok(Val::Bool(true))
}

fn extreme<'a>(items: &[Val<'a>], wanted: Ordering, empty: &str) -> Called<'a> {
    let mut best: Option<&Val<'a>> = None;
    for item in items {
        match best.map(|best| item.compare(best)) {
            None => best = Some(item),
            Some(Some(order)) if order == wanted => best = Some(item),
            Some(Some(_)) => {}
            Some(None) => return failed("no such overload"),
        }
    }
    best.map_or_else(|| failed(empty), |best| Ok(best.clone()))
}

fn sum<'a>(items: &[Val<'a>]) -> Called<'a> {
    let mut total = match items.first() {
        None | Some(Val::Int(_)) => Val::Int(0),
        Some(Val::Uint(_)) => Val::Uint(0),
        Some(Val::Double(_)) => Val::Double(0.0),
        Some(Val::Duration(_)) => Val::Duration(Duration::ZERO),
        Some(_) => return failed("no such overload"),
    };
    for item in items {
        let next = match (total, item) {
            (Val::Int(one), Val::Int(other)) => one.checked_add(*other).map(Val::Int),
            (Val::Uint(one), Val::Uint(other)) => one.checked_add(*other).map(Val::Uint),
            (Val::Double(one), Val::Double(other)) => Some(Val::Double(one + other)),
            (Val::Duration(one), Val::Duration(other)) => one.checked_add(*other).map(Val::Duration),
            _ => return failed("no such overload"),
        };
        match next {
            Some(next) => total = next,
            None => return failed("integer overflow"),
        }
    }
    Ok(total)
}
