//! Running an expression. Every step is paid for out of a budget; when that is used up the run ends.

use crate::ast::{Binary, Comprehension, Expr, Literal, Made, Node, OptionalMap, Walk};
use crate::cost::{LIST_COST, MAP_COST, OBJECT_COST, tenth};
use crate::functions::{self, Patterns};
use crate::value::Val;
use mainstay_apiserver_machinery::structural::ListType;
use smol_str::SmolStr;
use std::cmp::Ordering;
use std::sync::Arc;
use time::Duration;

/// Why a run gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The budget is used up.
    #[error("operation cancelled: actual cost limit exceeded")]
    Budget,
    /// The expression failed on these values.
    #[error("{0}")]
    Failed(String),
}

/// What a run may still cost.
#[derive(Debug, Clone)]
pub struct Meter {
    left: u64,
    spent: u64,
}

impl Meter {
    /// A budget, in upstream's units.
    pub const fn new(budget: u64) -> Self {
        Self { left: budget, spent: 0 }
    }

    /// What was spent so far.
    pub const fn spent(&self) -> u64 {
        self.spent
    }

    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.spent = self.spent.saturating_add(cost);
        self.left = self.left.checked_sub(cost).ok_or(EvalError::Budget)?;
        Ok(())
    }
}

type Evaluated<'a> = Result<Val<'a>, EvalError>;

pub(crate) fn failed<T>(reason: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError::Failed(reason.into()))
}

fn fit(value: Result<Val<'_>, String>) -> Evaluated<'_> {
    value.map_err(EvalError::Failed)
}

/// A run.
pub(crate) struct Run<'a, 'm> {
    pub(crate) names: Vec<(&'a str, Val<'a>)>,
    pub(crate) patterns: &'a Patterns,
    pub(crate) meter: &'m mut Meter,
}

impl<'a> Run<'a, '_> {
    pub(crate) fn value(&mut self, expr: &'a Expr) -> Evaluated<'a> {
        match &expr.node {
            Node::Literal(literal) => Ok(literal_value(literal)),
            Node::Ident(name) => self.name(name),
            Node::Select { operand, field, is_optional } => self.select(operand, field, *is_optional),
            Node::Has { operand, field } => self.has(operand, field),
            Node::Index { operand, index, is_optional } => self.index(operand, index, *is_optional),
            Node::And(terms) => self.logic(terms, false),
            Node::Or(terms) => self.logic(terms, true),
            Node::Not(operand) => self.not(operand),
            Node::Negate(operand) => self.negate(operand),
            Node::Conditional(parts) => self.conditional(parts),
            Node::Binary(operator, sides) => self.binary(*operator, sides),
            Node::List(items) => self.list(items),
            Node::Map(pairs) => self.map(pairs),
            Node::Call { function, target, args } => self.call(function, target.as_deref(), args),
            Node::Made(made) => self.made(made),
            Node::Comprehension(walk) => self.comprehension(walk),
            Node::OptionalMap(map) => self.optional_map(map),
        }
    }

    fn name(&mut self, name: &SmolStr) -> Evaluated<'a> {
        self.meter.charge(1)?;
        if let Some((_, value)) = self.names.iter().rev().find(|(known, _)| *known == name.as_str()) {
            return Ok(value.clone());
        }
        match crate::check::TYPE_NAMES.iter().find(|known| **known == name.as_str()) {
            Some(known) => Ok(Val::Type(known)),
            None => failed(format!("no such attribute(s): {name}")),
        }
    }

    fn select(&mut self, operand: &'a Expr, field: &str, is_optional: bool) -> Evaluated<'a> {
        let operand = self.value(operand)?;
        self.meter.charge(1)?;
        if let Val::Optional(inner) = &operand {
            let found = inner.as_ref().and_then(|inner| inner.member(field)).transpose();
            return found.map(Val::optional).map_err(EvalError::Failed);
        }
        if let Some(resource) = operand.request_resource().filter(|_| field == "requestResource") {
            return Ok(resource);
        }
        match operand.member(field) {
            Some(found) if is_optional => fit(found).map(|value| Val::optional(Some(value))),
            Some(found) => fit(found),
            None if is_optional => Ok(Val::optional(None)),
            None => failed(format!("no such key: {field}")),
        }
    }

    fn has(&mut self, operand: &'a Expr, field: &str) -> Evaluated<'a> {
        let operand = self.value(operand)?;
        self.meter.charge(1)?;
        let holder = match &operand {
            Val::Optional(inner) => match inner {
                Some(inner) => &**inner,
                None => return Ok(Val::Bool(false)),
            },
            other => other,
        };
        Ok(Val::Bool(holder.member(field).is_some()))
    }

    fn index(&mut self, operand: &'a Expr, index: &'a Expr, is_optional: bool) -> Evaluated<'a> {
        let operand = self.value(operand)?;
        let index = self.value(index)?;
        self.meter.charge(1)?;
        if let Val::Optional(inner) = &operand {
            let Some(inner) = inner else { return Ok(Val::optional(None)) };
            return at(inner, &index)?
                .map_or_else(|| Ok(Val::optional(None)), |value| Ok(Val::optional(Some(value))));
        }
        match at(&operand, &index)? {
            Some(value) if is_optional => Ok(Val::optional(Some(value))),
            Some(value) => Ok(value),
            None if is_optional => Ok(Val::optional(None)),
            None => match index {
                Val::Int(at) => failed(format!("index out of bounds: {at}")),
                other => failed(format!("no such key: {}", functions::shown(&other))),
            },
        }
    }

    /// `&&` and `||`: a term that decides wins over one that fails, on whichever side it stands.
    fn logic(&mut self, terms: &'a [Expr], deciding: bool) -> Evaluated<'a> {
        let mut failure = None;
        for term in terms {
            match self.value(term) {
                Ok(Val::Bool(flag)) if flag == deciding => return Ok(Val::Bool(deciding)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => failure = failure.or_else(|| Some(EvalError::Failed("no such overload".to_owned()))),
                Err(EvalError::Budget) => return Err(EvalError::Budget),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(Val::Bool(!deciding)), Err)
    }

    fn not(&mut self, operand: &'a Expr) -> Evaluated<'a> {
        let value = self.value(operand)?;
        self.meter.charge(1)?;
        match value {
            Val::Bool(flag) => Ok(Val::Bool(!flag)),
            _ => failed("no such overload"),
        }
    }

    fn negate(&mut self, operand: &'a Expr) -> Evaluated<'a> {
        let value = self.value(operand)?;
        self.meter.charge(1)?;
        match value {
            Val::Int(number) => {
                number.checked_neg().map_or_else(|| failed("integer overflow"), |number| Ok(Val::Int(number)))
            }
            Val::Double(number) => Ok(Val::Double(-number)),
            _ => failed("no such overload"),
        }
    }

    fn conditional(&mut self, parts: &'a [Expr; 3]) -> Evaluated<'a> {
        let [condition, yes, no] = parts;
        match self.value(condition)? {
            Val::Bool(true) => self.value(yes),
            Val::Bool(false) => self.value(no),
            _ => failed("no such overload"),
        }
    }

    fn binary(&mut self, operator: Binary, sides: &'a [Expr; 2]) -> Evaluated<'a> {
        let [left, right] = sides;
        let left = self.value(left)?;
        let right = self.value(right)?;
        let cost = match operator {
            Binary::In => right.size(),
            Binary::Equal
            | Binary::NotEqual
            | Binary::Less
            | Binary::LessOrEqual
            | Binary::Greater
            | Binary::GreaterOrEqual => tenth(left.size().min(right.size())),
            Binary::Add => tenth(left.size().saturating_add(right.size())),
            _ => 1,
        };
        self.meter.charge(cost.max(1))?;
        let order = |test: fn(Ordering) -> bool| match left.compare(&right) {
            Some(order) => Ok(Val::Bool(test(order))),
            None if is_nan(&left) || is_nan(&right) => Ok(Val::Bool(false)),
            None => failed("no such overload"),
        };
        match operator {
            Binary::Equal => Ok(Val::Bool(left.equals(&right))),
            Binary::NotEqual => Ok(Val::Bool(!left.equals(&right))),
            Binary::Less => order(Ordering::is_lt),
            Binary::LessOrEqual => order(Ordering::is_le),
            Binary::Greater => order(Ordering::is_gt),
            Binary::GreaterOrEqual => order(Ordering::is_ge),
            Binary::In => contains(&right, &left),
            _ => arithmetic(operator, left, right),
        }
    }

    fn list(&mut self, items: &'a [(Expr, bool)]) -> Evaluated<'a> {
        self.meter.charge(LIST_COST)?;
        let mut out = Vec::with_capacity(items.len());
        for (item, is_optional) in items {
            match self.value(item)? {
                Val::Optional(inner) if *is_optional => out.extend(inner.map(|inner| (*inner).clone())),
                value => out.push(value),
            }
        }
        Ok(Val::list(out))
    }

    fn map(&mut self, pairs: &'a [(Expr, Expr, bool)]) -> Evaluated<'a> {
        self.meter.charge(MAP_COST)?;
        let mut out: Vec<(Val<'a>, Val<'a>)> = Vec::with_capacity(pairs.len());
        for (key, value, is_optional) in pairs {
            let key = self.value(key)?;
            if !matches!(key, Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Str(_)) {
                return failed("unsupported key type");
            }
            if out.iter().any(|(known, _)| known.equals(&key)) {
                return failed(format!("insert failed: key {} already exists", functions::shown(&key)));
            }
            match self.value(value)? {
                Val::Optional(inner) if *is_optional => {
                    out.extend(inner.map(|inner| (key, (*inner).clone())));
                }
                value => out.push((key, value)),
            }
        }
        Ok(Val::Map(out.into()))
    }

    fn made(&mut self, made: &'a Made) -> Evaluated<'a> {
        self.meter.charge(OBJECT_COST)?;
        let mut fields: Vec<(SmolStr, Val<'a>)> = Vec::with_capacity(made.fields.len());
        for (name, value, is_optional) in &made.fields {
            match self.value(value)? {
                Val::Optional(inner) if *is_optional => {
                    fields.extend(inner.map(|inner| (name.clone(), (*inner).clone())));
                }
                value => fields.push((name.clone(), value)),
            }
        }
        Ok(Val::Made(Arc::new((made.name.clone(), fields))))
    }

    fn call(&mut self, function: &str, target: Option<&'a Expr>, args: &'a [Expr]) -> Evaluated<'a> {
        // What an optional falls back to is looked at only when it is needed.
        if let (Some(target), "or" | "orValue", [other]) = (target, function, args) {
            let value = self.value(target)?;
            self.meter.charge(1)?;
            return match value {
                Val::Optional(Some(inner)) if function == "orValue" => Ok((*inner).clone()),
                Val::Optional(Some(inner)) => Ok(Val::Optional(Some(inner))),
                Val::Optional(None) => self.value(other),
                _ => failed("no such overload"),
            };
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            values.push(self.value(arg)?);
        }
        functions::call(function, target.is_some(), &values, (self.patterns, self.meter))
    }

    fn comprehension(&mut self, walk: &'a Comprehension) -> Evaluated<'a> {
        let range = self.value(&walk.range)?;
        self.meter.charge(1)?;
        let rounds = rounds(&range, walk.variables.len() == 2)?;
        let mut state = State { failure: None, found: 0, list: Vec::new(), map: Vec::new() };
        let before = self.names.len();
        for (first, second) in rounds {
            self.meter.charge(2)?;
            for (name, value) in walk.variables.iter().zip([Some(first.clone()), second]) {
                self.names.push((name.as_str(), value.unwrap_or(Val::Null)));
            }
            let step = self.round(walk, first, &mut state);
            self.names.truncate(before);
            if let Some(done) = step? {
                return Ok(done);
            }
        }
        match (walk.walk, state.failure) {
            (_, Some(failure)) => Err(failure),
            (Walk::All, None) => Ok(Val::Bool(true)),
            (Walk::Exists, None) => Ok(Val::Bool(false)),
            (Walk::ExistsOne, None) => Ok(Val::Bool(state.found == 1)),
            (Walk::Filter | Walk::Map | Walk::TransformList, None) => Ok(Val::list(state.list)),
            (Walk::TransformMap, None) => Ok(Val::Map(state.map.into())),
        }
    }

    /// One item; a value ends the walk.
    fn round(
        &mut self,
        walk: &'a Comprehension,
        first: Val<'a>,
        state: &mut State<'a>,
    ) -> Result<Option<Val<'a>>, EvalError> {
        if let Some(filter) = &walk.filter {
            match self.value(filter)? {
                Val::Bool(true) => {}
                Val::Bool(false) => return Ok(None),
                _ => return failed("no such overload"),
            }
        }
        let body = self.value(&walk.body);
        match walk.walk {
            Walk::All | Walk::Exists => {
                let deciding = walk.walk == Walk::Exists;
                match body {
                    Ok(Val::Bool(flag)) if flag == deciding => return Ok(Some(Val::Bool(deciding))),
                    Ok(Val::Bool(_)) => {}
                    Ok(_) => return failed("no such overload"),
                    Err(EvalError::Budget) => return Err(EvalError::Budget),
                    Err(error) => state.failure = state.failure.take().or(Some(error)),
                }
            }
            Walk::ExistsOne => state.found += usize::from(matches!(body?, Val::Bool(true))),
            Walk::Filter => {
                if matches!(body?, Val::Bool(true)) {
                    state.list.push(first);
                }
            }
            Walk::Map | Walk::TransformList => {
                self.meter.charge(1)?;
                state.list.push(body?);
            }
            Walk::TransformMap => {
                self.meter.charge(1)?;
                state.map.push((first, body?));
            }
        }
        Ok(None)
    }

    fn optional_map(&mut self, map: &'a OptionalMap) -> Evaluated<'a> {
        let target = self.value(&map.target)?;
        self.meter.charge(1)?;
        let inner = match target {
            Val::Optional(Some(inner)) => (*inner).clone(),
            Val::Optional(None) => return Ok(Val::optional(None)),
            _ => return failed("no such overload"),
        };
        self.names.push((map.variable.as_str(), inner));
        let body = self.value(&map.body);
        self.names.pop();
        let body = body?;
        Ok(if map.is_flat { body } else { Val::optional(Some(body)) })
    }
}

/// What a walk has so far.
struct State<'a> {
    failure: Option<EvalError>,
    found: usize,
    list: Vec<Val<'a>>,
    map: Vec<(Val<'a>, Val<'a>)>,
}

/// What the variables of a walk are in each round.
type Rounds<'a> = Vec<(Val<'a>, Option<Val<'a>>)>;

fn rounds<'a>(range: &Val<'a>, two: bool) -> Result<Rounds<'a>, EvalError> {
    if let Some(items) = range.items() {
        let items = items.map_err(EvalError::Failed)?;
        let pair = |(at, item)| if two { (Val::Int(at as i64), Some(item)) } else { (item, None) };
        return Ok(items.into_iter().enumerate().map(pair).collect());
    }
    match range.pairs() {
        Some(pairs) => {
            let pairs = pairs.map_err(EvalError::Failed)?;
            Ok(pairs.into_iter().map(|(key, value)| (key, two.then_some(value))).collect())
        }
        None => failed("no such overload"),
    }
}

fn literal_value<'a>(literal: &Literal) -> Val<'a> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(flag) => Val::Bool(*flag),
        Literal::Int(number) => Val::Int(*number),
        Literal::Uint(number) => Val::Uint(*number),
        Literal::Double(number) => Val::Double(*number),
        Literal::Str(text) => Val::Str(text.clone()),
        Literal::Bytes(bytes) => Val::Bytes(Arc::clone(bytes)),
    }
}

fn is_nan(value: &Val<'_>) -> bool {
    matches!(value, Val::Double(number) if number.is_nan())
}

/// The item or member at `index`, `None` when there is none.
fn at<'a>(holder: &Val<'a>, index: &Val<'a>) -> Result<Option<Val<'a>>, EvalError> {
    let position = match index {
        Val::Int(at) => usize::try_from(*at).ok(),
        Val::Uint(at) => usize::try_from(*at).ok(),
        Val::Double(at) if at.fract() == 0.0 && *at >= 0.0 => Some(*at as usize),
        _ => None,
    };
    if let Some(items) = holder.items() {
        if !matches!(index, Val::Int(_) | Val::Uint(_) | Val::Double(_)) {
            return failed("no such overload");
        }
        let items = items.map_err(EvalError::Failed)?;
        return Ok(position.and_then(|at| items.into_iter().nth(at)));
    }
    if let Val::Str(name) = index {
        return holder.member(name).map(fit).transpose();
    }
    match holder {
        Val::Map(pairs) => {
            Ok(pairs.iter().find(|(key, _)| key.equals(index)).map(|(_, value)| value.clone()))
        }
        Val::Tree(..) => Ok(None),
        _ => failed("no such overload"),
    }
}

fn contains<'a>(holder: &Val<'a>, wanted: &Val<'a>) -> Evaluated<'a> {
    if let Some(items) = holder.items() {
        let items = items.map_err(EvalError::Failed)?;
        return Ok(Val::Bool(items.iter().any(|item| item.equals(wanted))));
    }
    match holder {
        Val::Map(_) | Val::Tree(..) => at(holder, wanted).map(|found| Val::Bool(found.is_some())),
        _ => failed("no such overload"),
    }
}

fn arithmetic<'a>(operator: Binary, left: Val<'a>, right: Val<'a>) -> Evaluated<'a> {
    let whole = |number: Option<i64>| number.map_or_else(|| failed("integer overflow"), |n| Ok(Val::Int(n)));
    let unsigned = |number: Option<u64>| {
        number.map_or_else(|| failed("unsigned integer overflow"), |n| Ok(Val::Uint(n)))
    };
    let length =
        |sum: Option<Duration>| sum.map_or_else(|| failed("integer overflow"), |sum| Ok(Val::Duration(sum)));
    match (operator, left, right) {
        (Binary::Divide, Val::Int(_), Val::Int(0)) | (Binary::Divide, Val::Uint(_), Val::Uint(0)) => {
            failed("division by zero")
        }
        (Binary::Remainder, Val::Int(_), Val::Int(0)) | (Binary::Remainder, Val::Uint(_), Val::Uint(0)) => {
            failed("modulus by zero")
        }
        (operator, Val::Int(one), Val::Int(other)) => whole(match operator {
            Binary::Add => one.checked_add(other),
            Binary::Subtract => one.checked_sub(other),
            Binary::Multiply => one.checked_mul(other),
            Binary::Divide => one.checked_div(other),
            _ => one.checked_rem(other),
        }),
        (operator, Val::Uint(one), Val::Uint(other)) => unsigned(match operator {
            Binary::Add => one.checked_add(other),
            Binary::Subtract => one.checked_sub(other),
            Binary::Multiply => one.checked_mul(other),
            Binary::Divide => one.checked_div(other),
            _ => one.checked_rem(other),
        }),
        (Binary::Add, Val::Double(one), Val::Double(other)) => Ok(Val::Double(one + other)),
        (Binary::Subtract, Val::Double(one), Val::Double(other)) => Ok(Val::Double(one - other)),
        (Binary::Multiply, Val::Double(one), Val::Double(other)) => Ok(Val::Double(one * other)),
        (Binary::Divide, Val::Double(one), Val::Double(other)) => Ok(Val::Double(one / other)),
        (Binary::Add, Val::Str(one), Val::Str(other)) => Ok(Val::Str(format!("{one}{other}").into())),
        (Binary::Add, Val::Bytes(one), Val::Bytes(other)) => Ok(Val::Bytes([one, other].concat().into())),
        (Binary::Add, Val::Duration(one), Val::Duration(other)) => length(one.checked_add(other)),
        (Binary::Subtract, Val::Duration(one), Val::Duration(other)) => length(one.checked_sub(other)),
        (Binary::Subtract, Val::Timestamp(one), Val::Timestamp(other)) => Ok(Val::Duration(one - other)),
        (Binary::Add, Val::Timestamp(time), Val::Duration(by))
        | (Binary::Add, Val::Duration(by), Val::Timestamp(time)) => {
            time.checked_add(by).map_or_else(|| failed("timestamp overflow"), |time| Ok(Val::Timestamp(time)))
        }
        (Binary::Subtract, Val::Timestamp(time), Val::Duration(by)) => {
            time.checked_sub(by).map_or_else(|| failed("timestamp overflow"), |time| Ok(Val::Timestamp(time)))
        }
        (Binary::Add, one, other) => concat(&one, &other),
        _ => failed("no such overload"),
    }
}

/// Lists one after the other; sets without doubles, and lists with keys by their keys.
fn concat<'a>(one: &Val<'a>, other: &Val<'a>) -> Evaluated<'a> {
    let (Some(items), Some(more)) = (one.items(), other.items()) else { return failed("no such overload") };
    let mut items = items.map_err(EvalError::Failed)?;
    let more = more.map_err(EvalError::Failed)?;
    let shape = match one {
        Val::Tree(_, shape) => *shape,
        _ => None,
    };
    match shape.map(|shape| (shape.list_type, shape.list_keys.as_slice())) {
        Some((ListType::Set, _)) => {
            for item in more {
                if !items.iter().any(|known| known.equals(&item)) {
                    items.push(item);
                }
            }
        }
        Some((ListType::Map, keys)) => {
            let same = |one: &Val<'a>, other: &Val<'a>| {
                keys.iter().all(|key| match (one.member(key), other.member(key)) {
                    (Some(Ok(one)), Some(Ok(other))) => one.equals(&other),
                    (one, other) => one.is_none() && other.is_none(),
                })
            };
            for item in more {
                match items.iter_mut().find(|known| same(known, &item)) {
                    Some(known) => *known = item,
                    None => items.push(item),
                }
            }
        }
        _ => items.extend(more),
    }
    Ok(Val::list(items))
}
