//! Types: every part of an expression gets one, or the expression is refused with upstream's words.

use crate::ast::{Binary, Comprehension, Expr, Literal, Made, Node, OptionalMap, Walk};
use crate::made;
use crate::program::Environment;
use crate::shape::{Shape, ShapeKind};
use crate::signatures::{AUTHORIZER, P, RESOURCE_CHECK, SIGNATURES};
use crate::types::Type;
use smol_str::SmolStr;
use std::sync::Arc;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeFault {
    pub(crate) at: usize,
    pub(crate) reason: String,
}

/// A name that an expression may use.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) name: SmolStr,
    pub(crate) ty: Type,
    pub(crate) place: Option<Arc<Shape>>,
}

/// Faults told of one expression.
const FAULTS_MAX: usize = 20;

/// Names of types as values.
pub(crate) const TYPE_NAMES: [&str; 11] =
    ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "optional_type"];

/// Sets the types of all parts.
pub(crate) fn check(expr: &mut Expr, known: Vec<Known>, environment: &Environment) -> Vec<TypeFault> {
    let (makes, variables) = (environment.makes_objects, environment.fields.clone());
    let mut checker = Checker { known, faults: Vec::new(), takes_mixed: false, makes, variables };
    checker.visit(expr);
    checker.faults
}

struct Checker {
    known: Vec<Known>,
    faults: Vec<TypeFault>,
    /// Whether the items of a list may be of different types.
    takes_mixed: bool,
    /// Whether objects may be made.
    makes: bool,
    /// The types of the fields of `variables`, where they are known.
    variables: Option<Vec<(SmolStr, Type)>>,
}

impl Checker {
    fn fault(&mut self, at: usize, reason: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(TypeFault { at, reason });
        }
    }

    fn visit(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        let (ty, place) = match &mut expr.node {
            Node::Literal(literal) => (literal_type(literal), None),
            Node::Ident(name) => self.name(name, at),
            Node::Select { operand, field, is_optional } => {
                self.visit(operand);
                self.select(operand, field, *is_optional, at)
            }
            Node::Has { operand, field } => {
                self.visit(operand);
                self.select(operand, field, false, at);
                (Type::Bool, None)
            }
            Node::Index { operand, index, is_optional } => {
                self.visit(operand);
                self.visit(index);
                self.index(operand, index, *is_optional, at)
            }
            Node::And(terms) | Node::Or(terms) => {
                let name = "_&&_";
                for term in terms.iter_mut() {
                    self.boolean(term, name);
                }
                (Type::Bool, None)
            }
            Node::Not(operand) => {
                self.boolean(operand, "!_");
                (Type::Bool, None)
            }
            Node::Negate(operand) => (self.negate(operand, at), None),
            Node::Conditional(parts) => self.conditional(parts),
            Node::Binary(operator, sides) => {
                let [left, right] = &mut **sides;
                self.visit(left);
                self.visit(right);
                self.binary(*operator, left, right, at)
            }
            Node::List(items) => (self.list(items), None),
            Node::Map(pairs) => (self.map(pairs), None),
            Node::Call { function, target, args } => {
                let function = function.clone();
                if let Some(target) = target {
                    self.visit(target);
                }
                // What a text is made of may be of any types.
                let was_mixed = std::mem::replace(&mut self.takes_mixed, function == "format");
                for arg in args.iter_mut() {
                    self.visit(arg);
                }
                self.takes_mixed = was_mixed;
                (self.call(&function, target.as_deref(), args, at), None)
            }
            Node::Made(made) => (self.made(made, at), None),
            Node::Comprehension(walk) => (self.comprehension(walk, at), None),
            Node::OptionalMap(map) => (self.optional_map(map, at), None),
        };
        expr.ty = ty.clone();
        expr.place = place;
        ty
    }

    fn name(&mut self, name: &SmolStr, at: usize) -> (Type, Option<Arc<Shape>>) {
        if let Some(known) = self.known.iter().rev().find(|known| known.name == *name) {
            return (known.ty.clone(), known.place.clone());
        }
        if TYPE_NAMES.contains(&name.as_str()) {
            return (Type::Type, None);
        }
        self.fault(at, format!("undeclared reference to '{name}' (in container '')"));
        (Type::Dyn, None)
    }

    fn boolean(&mut self, expr: &mut Expr, operator: &str) {
        let ty = self.visit(expr);
        if !matches!(ty, Type::Bool | Type::Dyn) {
            let reason = format!("found no matching overload for '{operator}' applied to '({ty})'");
            self.fault(expr.at, reason);
        }
    }

    fn select(
        &mut self,
        operand: &Expr,
        field: &str,
        is_optional: bool,
        at: usize,
    ) -> (Type, Option<Arc<Shape>>) {
        // A field of an optional is an optional.
        let (ty, wraps) = match &operand.ty {
            Type::Optional(inner) => (&**inner, true),
            ty => (ty, is_optional),
        };
        let (found, place) = match ty {
            Type::Object(shape) => {
                let Some(member) = shape.member(field) else {
                    self.fault(at, format!("undefined field '{field}'"));
                    return (Type::Dyn, None);
                };
                (member.shape.ty(), Some(Arc::clone(&member.shape)))
            }
            Type::Map(pair) => (pair.1.clone(), operand.place.as_ref().and_then(|place| place.item.clone())),
            Type::Made(name) => {
                let Some(found) = made::field_type(name, field) else {
                    self.fault(at, format!("undefined field '{field}'"));
                    return (Type::Dyn, None);
                };
                (found, None)
            }
            // Upstream has the two names as one.
            Type::Named(AUTHORIZER)
                if field == "requestResource" && matches!(&operand.node, Node::Ident(_)) =>
            {
                (Type::Named(RESOURCE_CHECK), None)
            }
            Type::Dyn => (self.variable(operand, field, at), None),
            other => {
                self.fault(at, format!("type '{other}' does not support field selection"));
                (Type::Dyn, None)
            }
        };
        (if wraps { Type::optional(found) } else { found }, place)
    }

    /// The type of a field of what is not known before the run, except for the variables of a policy.
    fn variable(&mut self, operand: &Expr, field: &str, at: usize) -> Type {
        match (&operand.node, &self.variables) {
            (Node::Ident(name), Some(known)) if name == "variables" => {
                if let Some((_, ty)) = known.iter().find(|(name, _)| name == field) {
                    return ty.clone();
                }
                self.fault(at, format!("undefined field '{field}'"));
                Type::Dyn
            }
            _ => Type::Dyn,
        }
    }

    fn index(
        &mut self,
        operand: &Expr,
        index: &Expr,
        is_optional: bool,
        at: usize,
    ) -> (Type, Option<Arc<Shape>>) {
        let (ty, wraps) = match &operand.ty {
            Type::Optional(inner) => (&**inner, true),
            ty => (ty, is_optional),
        };
        let item = || operand.place.as_ref().and_then(|place| place.item.clone());
        let found = match ty {
            Type::List(item) if index.ty.fits(&Type::Int) || index.ty.fits(&Type::Uint) => {
                Some((**item).clone())
            }
            Type::Map(pair) if pair.0.fits(&index.ty) => Some(pair.1.clone()),
            Type::Dyn => Some(Type::Dyn),
            _ => None,
        };
        let found = found.unwrap_or_else(|| {
            let reason = format!("found no matching overload for '_[_]' applied to '({ty}, {})'", index.ty);
            self.fault(at, reason);
            Type::Dyn
        });
        (if wraps { Type::optional(found) } else { found }, item())
    }

    fn negate(&mut self, operand: &mut Expr, at: usize) -> Type {
        match self.visit(operand) {
            ty @ (Type::Int | Type::Double | Type::Dyn) => ty,
            other => {
                self.fault(at, format!("found no matching overload for '-_' applied to '({other})'"));
                Type::Dyn
            }
        }
    }

    fn conditional(&mut self, parts: &mut [Expr; 3]) -> (Type, Option<Arc<Shape>>) {
        let [condition, yes, no] = parts;
        self.boolean(condition, "_?_:_");
        let (one, other) = (self.visit(yes), self.visit(no));
        if !one.fits(&other) {
            let reason =
                format!("found no matching overload for '_?_:_' applied to '(bool, {one}, {other})'");
            self.fault(condition.at, reason);
        }
        (one.join(&other), None)
    }

    fn binary(
        &mut self,
        operator: Binary,
        left: &Expr,
        right: &Expr,
        at: usize,
    ) -> (Type, Option<Arc<Shape>>) {
        use Type::{Bytes, Double, Duration, Dyn, Int, List, Map, Str, Timestamp, Uint};
        let (one, other) = (&left.ty, &right.ty);
        let found = match operator {
            Binary::Equal | Binary::NotEqual => one.fits(other).then_some(Type::Bool),
            Binary::In => match other {
                List(item) => item.fits(one).then_some(Type::Bool),
                Map(pair) => pair.0.fits(one).then_some(Type::Bool),
                Dyn => Some(Type::Bool),
                _ => None,
            },
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                let number = |ty: &Type| matches!(ty, Int | Uint | Double | Dyn);
                let ordered = |ty: &Type| matches!(ty, Type::Bool | Str | Bytes | Duration | Timestamp | Dyn);
                ((number(one) && number(other)) || (ordered(one) && ordered(other) && one.fits(other)))
                    .then_some(Type::Bool)
            }
            Binary::Add => match (one, other) {
                (Timestamp, Duration | Dyn) | (Duration | Dyn, Timestamp) => Some(Timestamp),
                (List(_), List(_)) if one.fits(other) => Some(one.join(other)),
                (Int, Int)
                | (Uint, Uint)
                | (Double, Double)
                | (Str, Str)
                | (Bytes, Bytes)
                | (Duration, Duration) => Some(one.clone()),
                // A type that is added to itself alone is the result's too.
                (Dyn, ty @ (Int | Uint | Double | Str | Bytes | List(_)))
                | (ty @ (Int | Uint | Double | Str | Bytes | List(_)), Dyn) => Some(ty.clone()),
                (Dyn, ty) | (ty, Dyn) if !matches!(ty, Type::Bool | Map(_) | Type::Object(_)) => Some(Dyn),
                _ => None,
            },
            Binary::Subtract => match (one, other) {
                (Timestamp | Dyn, Timestamp) | (Duration, Duration | Dyn) => Some(Duration),
                (Timestamp, Duration) => Some(Timestamp),
                (Int, Int) | (Uint, Uint) | (Double, Double) => Some(one.clone()),
                (Dyn, ty @ (Int | Uint | Double)) | (ty @ (Int | Uint | Double), Dyn) => Some(ty.clone()),
                (Dyn, Duration | Dyn) | (Timestamp, Dyn) => Some(Dyn),
                _ => None,
            },
            Binary::Multiply | Binary::Divide | Binary::Remainder => match (one, other) {
                (Int, Int) | (Uint, Uint) => Some(one.clone()),
                (Double, Double | Dyn) | (Dyn, Double) if operator != Binary::Remainder => Some(Double),
                (Dyn, Dyn) => Some(Dyn),
                (Dyn, ty @ (Int | Uint)) | (ty @ (Int | Uint), Dyn) => Some(ty.clone()),
                _ => None,
            },
        };
        let ty = found.unwrap_or_else(|| {
            let name = operator.name();
            self.fault(at, format!("found no matching overload for '{name}' applied to '({one}, {other})'"));
            Type::Dyn
        });
        // Sets and maps stay what they are when something is added to them.
        let place =
            left.place.clone().filter(|place| operator == Binary::Add && place.kind == ShapeKind::List);
        (ty, place)
    }

    fn list(&mut self, items: &mut [(Expr, bool)]) -> Type {
        let mut item: Option<Type> = None;
        for (expr, is_optional) in items {
            let mut ty = self.visit(expr);
            if *is_optional && let Type::Optional(inner) = ty {
                ty = (*inner).clone();
            }
            item = Some(match item {
                None => ty,
                Some(known) if known.fits(&ty) || self.takes_mixed => known.join(&ty),
                Some(known) => {
                    self.fault(expr.at, format!("expected type '{known}' but found '{ty}'"));
                    Type::Dyn
                }
            });
        }
        Type::list(item.unwrap_or_default())
    }

    fn map(&mut self, pairs: &mut [(Expr, Expr, bool)]) -> Type {
        let mut joined: Option<(Type, Type)> = None;
        for (key, value, is_optional) in pairs {
            let (key_type, mut value_type) = (self.visit(key), self.visit(value));
            if *is_optional && let Type::Optional(inner) = value_type {
                value_type = (*inner).clone();
            }
            joined = Some(match joined {
                None => (key_type, value_type),
                Some((known_key, known)) => {
                    for (place, known, found) in
                        [(key.at, &known_key, &key_type), (value.at, &known, &value_type)]
                    {
                        if !known.fits(found) {
                            self.fault(place, format!("expected type '{known}' but found '{found}'"));
                        }
                    }
                    (known_key.join(&key_type), known.join(&value_type))
                }
            });
        }
        let (key, value) = joined.unwrap_or_default();
        Type::map(key, value)
    }

    fn made(&mut self, made: &mut Made, at: usize) -> Type {
        let is_known = self.makes && made::is_type(&made.name);
        if !is_known {
            self.fault(at, format!("undeclared reference to '{}' (in container '')", made.name));
        }
        for (field, value, is_optional) in &mut made.fields {
            let mut ty = self.visit(value);
            if *is_optional && let Type::Optional(inner) = ty {
                ty = (*inner).clone();
            }
            match made::field_type(&made.name, field) {
                _ if !is_known => {}
                None => self.fault(value.at, format!("undefined field '{field}'")),
                Some(wanted) if !wanted.fits(&ty) => {
                    let reason =
                        format!("expected type of field '{field}' is '{wanted}' but provided type is '{ty}'");
                    self.fault(value.at, reason);
                }
                Some(_) => {}
            }
        }
        if is_known { Type::Made(made.name.clone()) } else { Type::Dyn }
    }

    fn call(&mut self, function: &str, target: Option<&Expr>, args: &[Expr], at: usize) -> Type {
        let types: Vec<&Type> = target.into_iter().chain(args).map(|arg| &arg.ty).collect();
        let mut result: Option<Type> = None;
        let mut is_known = false;
        for signature in SIGNATURES.iter().filter(|one| one.name == function) {
            is_known = true;
            if signature.is_member != target.is_some() || signature.params.len() != types.len() {
                continue;
            }
            let mut a = None;
            if signature.params.iter().zip(&types).all(|(param, ty)| P::takes(*param, ty, &mut a)) {
                let found = signature.result.result(a.as_ref());
                result = Some(match result {
                    None => found,
                    Some(before) => before.join(&found),
                });
            }
        }
        result.unwrap_or_else(|| {
            if is_known {
                let shown: Vec<String> = types.iter().map(ToString::to_string).collect();
                let shown = match (target, shown.split_first()) {
                    (Some(_), Some((first, rest))) => format!("{first}.({})", rest.join(", ")),
                    _ => format!("({})", shown.join(", ")),
                };
                self.fault(at, format!("found no matching overload for '{function}' applied to '{shown}'"));
            } else {
                self.fault(at, format!("undeclared reference to '{function}' (in container '')"));
            }
            Type::Dyn
        })
    }

    fn comprehension(&mut self, walk: &mut Comprehension, at: usize) -> Type {
        let range = self.visit(&mut walk.range);
        let item_place = walk.range.place.as_ref().and_then(|place| place.item.clone());
        let two = walk.variables.len() == 2;
        let (first, second) = match &range {
            Type::List(item) if two => (Type::Int, Some((**item).clone())),
            Type::List(item) => ((**item).clone(), None),
            Type::Map(pair) => (pair.0.clone(), two.then(|| pair.1.clone())),
            Type::Dyn => (Type::Dyn, two.then_some(Type::Dyn)),
            other => {
                let reason = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(at, reason);
                (Type::Dyn, two.then_some(Type::Dyn))
            }
        };
        let is_list = matches!(range, Type::List(_));
        let before = self.known.len();
        let first_place = if two || !is_list { None } else { item_place.clone() };
        for (name, (ty, place)) in walk
            .variables
            .iter()
            .zip([(first.clone(), first_place), (second.unwrap_or_default(), item_place)])
        {
            self.known.push(Known { name: name.clone(), ty, place });
        }
        if let Some(filter) = &mut walk.filter {
            self.boolean(filter, "_?_:_");
        }
        let body = match walk.walk {
            Walk::All | Walk::Exists | Walk::ExistsOne | Walk::Filter => {
                self.boolean(&mut walk.body, "_&&_");
                Type::Bool
            }
            Walk::Map | Walk::TransformList | Walk::TransformMap => self.visit(&mut walk.body),
        };
        self.known.truncate(before);
        match walk.walk {
            Walk::All | Walk::Exists | Walk::ExistsOne => Type::Bool,
            Walk::Filter => Type::list(first),
            Walk::Map | Walk::TransformList => Type::list(body),
            Walk::TransformMap => Type::map(if is_list { Type::Int } else { first }, body),
        }
    }

    fn optional_map(&mut self, map: &mut OptionalMap, at: usize) -> Type {
        let inner = match self.visit(&mut map.target) {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn => Type::Dyn,
            other => {
                self.fault(at, format!("found no matching overload for 'optMap' applied to '{other}'"));
                Type::Dyn
            }
        };
        let place = map.target.place.clone();
        self.known.push(Known { name: map.variable.clone(), ty: inner, place });
        let body = self.visit(&mut map.body);
        self.known.pop();
        if map.is_flat { body } else { Type::optional(body) }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::Str(_) => Type::Str,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// Whether an expression reads a name from outside.
pub(crate) fn uses(expr: &Expr, name: &str) -> bool {
    match &expr.node {
        Node::Ident(found) => found == name,
        Node::Literal(_) => false,
        Node::Select { operand, .. }
        | Node::Has { operand, .. }
        | Node::Not(operand)
        | Node::Negate(operand) => uses(operand, name),
        Node::Index { operand, index, .. } => uses(operand, name) || uses(index, name),
        Node::Call { target, args, .. } => {
            target.as_deref().is_some_and(|target| uses(target, name))
                || args.iter().any(|arg| uses(arg, name))
        }
        Node::And(terms) | Node::Or(terms) => terms.iter().any(|term| uses(term, name)),
        Node::Conditional(parts) => parts.iter().any(|part| uses(part, name)),
        Node::Binary(_, sides) => sides.iter().any(|side| uses(side, name)),
        Node::List(items) => items.iter().any(|(item, _)| uses(item, name)),
        Node::Map(pairs) => pairs.iter().any(|(key, value, _)| uses(key, name) || uses(value, name)),
        Node::Made(made) => made.fields.iter().any(|(_, value, _)| uses(value, name)),
        Node::Comprehension(walk) => {
            uses(&walk.range, name)
                || (!walk.variables.iter().any(|variable| variable == name)
                    && (uses(&walk.body, name)
                        || walk.filter.as_ref().is_some_and(|filter| uses(filter, name))))
        }
        Node::OptionalMap(map) => uses(&map.target, name) || (map.variable != name && uses(&map.body, name)),
    }
}
