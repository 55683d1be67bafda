//! What an expression can cost at most, before it runs, in upstream's units: one for a name or a member, one for a call,
//! and more where a call walks something.

use crate::ast::{Binary, Comprehension, Expr, Literal, Node, Walk};
use crate::signatures::{Cost, SIGNATURES};

/// What making a list, or a map, costs.
pub(crate) const LIST_COST: u64 = 10;
pub(crate) const MAP_COST: u64 = 30;
/// What making an object costs.
pub(crate) const OBJECT_COST: u64 = 40;

/// What asking the authorizer costs: two questions fit into the budget of one expression.
pub(crate) const CHECK_COST: u64 = 350_000;

/// What reading a selector of so many characters costs.
pub(crate) fn selector_cost(length: u64) -> u64 {
    LIST_COST.saturating_add(tenth(length)).saturating_add(length.div_ceil(2))
}

/// A tenth of a size, at least one for what is not empty.
pub(crate) fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

/// A quarter of a size.
pub(crate) fn quarter(size: u64) -> u64 {
    size.div_ceil(4)
}

/// The largest cost of an expression; saturates.
pub(crate) fn cost_max(expr: &Expr) -> u64 {
    match &expr.node {
        Node::Literal(_) => 0,
        Node::Ident(_) => 1,
        Node::Select { operand, .. }
        | Node::Has { operand, .. }
        | Node::Not(operand)
        | Node::Negate(operand) => cost_max(operand).saturating_add(1),
        Node::Index { operand, index, .. } => {
            cost_max(operand).saturating_add(cost_max(index)).saturating_add(1)
        }
        Node::And(terms) | Node::Or(terms) => sum(terms),
        Node::Conditional(parts) => {
            let [condition, yes, no] = &**parts;
            cost_max(condition).saturating_add(cost_max(yes).max(cost_max(no)))
        }
        Node::Binary(operator, sides) => {
            let [left, right] = &**sides;
            sum(&**sides).saturating_add(binary_cost(*operator, left, right))
        }
        Node::List(items) => sum(items.iter().map(|(item, _)| item)).saturating_add(LIST_COST),
        Node::Map(pairs) => {
            sum(pairs.iter().flat_map(|(key, value, _)| [key, value])).saturating_add(MAP_COST)
        }
        Node::Made(made) => sum(made.fields.iter().map(|(_, value, _)| value)).saturating_add(OBJECT_COST),
        Node::Call { function, target, args } => {
            let all: Vec<&Expr> = target.as_deref().into_iter().chain(args).collect();
            sum(all.iter().copied()).saturating_add(call_cost(function, &all))
        }
        Node::Comprehension(walk) => comprehension_cost(walk),
        Node::OptionalMap(map) => cost_max(&map.target).saturating_add(cost_max(&map.body)).saturating_add(2),
    }
}

fn sum<'e>(parts: impl IntoIterator<Item = &'e Expr>) -> u64 {
    parts.into_iter().map(cost_max).fold(0, u64::saturating_add)
}

fn binary_cost(operator: Binary, left: &Expr, right: &Expr) -> u64 {
    match operator {
        Binary::In => size_max(right),
        Binary::Equal
        | Binary::NotEqual
        | Binary::Less
        | Binary::LessOrEqual
        | Binary::Greater
        | Binary::GreaterOrEqual => tenth(size_max(left).min(size_max(right))).max(1),
        Binary::Add if has_size(left) => tenth(size_max(left).saturating_add(size_max(right))).max(1),
        _ => 1,
    }
}

fn call_cost(function: &str, args: &[&Expr]) -> u64 {
    let size = |at: usize| args.get(at).map_or(1, |arg| size_max(arg));
    let kind = SIGNATURES
        .iter()
        .find(|one| one.name == function && one.params.len() == args.len())
        .map_or(Cost::Call, |one| one.cost);
    match kind {
        Cost::Call => 1,
        Cost::Walk => tenth(size(0)).max(1),
        Cost::Search => tenth(size(0)).saturating_mul(tenth(size(1))).max(1),
        Cost::Regex => tenth(size(0).saturating_add(1)).saturating_mul(quarter(size(1))).max(1),
        Cost::Items => size(0).max(1),
        Cost::Pairs => size(0).saturating_mul(size(1)).max(1),
        Cost::Check => CHECK_COST,
        Cost::Selector => selector_cost(size(1)),
    }
}

fn comprehension_cost(walk: &Comprehension) -> u64 {
    let filter = walk.filter.as_ref().map_or(0, cost_max);
    let step = match walk.walk {
        Walk::All | Walk::Exists => 2,
        Walk::ExistsOne => 3,
        Walk::Filter | Walk::Map | Walk::TransformList => LIST_COST + 2,
        Walk::TransformMap => MAP_COST + 2,
    };
    let round = cost_max(&walk.body).saturating_add(filter).saturating_add(step);
    cost_max(&walk.range).saturating_add(size_max(&walk.range).saturating_mul(round)).saturating_add(1)
}

/// Whether values of this part have a size of their own.
fn has_size(expr: &Expr) -> bool {
    use crate::types::Type;
    matches!(expr.ty, Type::Str | Type::Bytes | Type::List(_) | Type::Map(_) | Type::Dyn)
}

/// How many characters, items or members a value can have; 1 for what has no size.
pub(crate) fn size_max(expr: &Expr) -> u64 {
    match &expr.node {
        Node::Literal(Literal::Str(text)) => text.len() as u64,
        Node::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        Node::Literal(_) => 1,
        Node::List(items) => items.len() as u64,
        Node::Map(pairs) => pairs.len() as u64,
        Node::Comprehension(walk) => match walk.walk {
            Walk::Filter | Walk::Map | Walk::TransformList | Walk::TransformMap => size_max(&walk.range),
            Walk::All | Walk::Exists | Walk::ExistsOne => 1,
        },
        Node::Binary(Binary::Add, sides) if has_size(expr) => {
            sides.iter().map(size_max).fold(0, u64::saturating_add)
        }
        Node::Conditional(parts) => {
            let [_, yes, no] = &**parts;
            size_max(yes).max(size_max(no))
        }
        Node::Call { function, target, args } => call_size(expr, function, target.as_deref(), args),
        _ if !has_size(expr) => 1,
        _ => expr.place.as_ref().map_or(u64::MAX, |place| place.elements_max),
    }
}

/// Results of functions on texts are about as large as the text.
fn call_size(expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> u64 {
    if !has_size(expr) {
        return 1;
    }
    let sizes = || target.into_iter().chain(args).map(size_max);
    match function {
        "charAt" => 4,
        "lowerAscii" | "upperAscii" | "substring" | "trim" | "reverse" | "find" | "split" | "findAll"
        | "dyn" | "string" | "bytes" | "orValue" | "value" => sizes().next().unwrap_or(u64::MAX),
        "replace" => sizes().fold(1, u64::saturating_mul),
        "join" | "format" => sizes().fold(0, u64::saturating_add),
        _ => u64::MAX,
    }
}
