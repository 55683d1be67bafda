//! The tree of an expression. The checker notes the type of each part, and where in a schema it comes from.

use crate::shape::Shape;
use crate::types::Type;
use smol_str::SmolStr;
use std::sync::Arc;

/// One part of an expression.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    /// Byte in the text where it starts.
    pub(crate) at: usize,
    pub(crate) node: Node,
    /// Set by the checker.
    pub(crate) ty: Type,
    /// The place in a schema that the value comes from, where it comes from one; set by the checker.
    pub(crate) place: Option<Arc<Shape>>,
}

impl Expr {
    pub(crate) fn new(at: usize, node: Node) -> Self {
        Self { at, node, ty: Type::Dyn, place: None }
    }

    /// Calls `f` with every direct part.
    pub(crate) fn each_part(&self, f: &mut dyn FnMut(&Self)) {
        match &self.node {
            Node::Literal(_) | Node::Ident(_) => {}
            Node::Select { operand, .. }
            | Node::Has { operand, .. }
            | Node::Not(operand)
            | Node::Negate(operand) => {
                f(operand);
            }
            Node::Index { operand, index, .. } => {
                f(operand);
                f(index);
            }
            Node::Call { target, args, .. } => target.as_deref().into_iter().chain(args).for_each(f),
            Node::And(terms) | Node::Or(terms) => terms.iter().for_each(f),
            Node::Conditional(parts) => parts.iter().for_each(f),
            Node::Binary(_, sides) => sides.iter().for_each(f),
            Node::List(items) => items.iter().for_each(|(item, _)| f(item)),
            Node::Map(pairs) => pairs.iter().for_each(|(key, value, _)| {
                f(key);
                f(value);
            }),
            Node::Made(made) => made.fields.iter().for_each(|(_, value, _)| f(value)),
            Node::Comprehension(walk) => {
                f(&walk.range);
                walk.filter.iter().for_each(&mut *f);
                f(&walk.body);
            }
            Node::OptionalMap(map) => {
                f(&map.target);
                f(&map.body);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(SmolStr),
    Bytes(Arc<[u8]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Binary {
    /// The name under which errors tell of the operator.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Add => "_+_",
            Self::Subtract => "_-_",
            Self::Multiply => "_*_",
            Self::Divide => "_/_",
            Self::Remainder => "_%_",
            Self::Equal => "_==_",
            Self::NotEqual => "_!=_",
            Self::Less => "_<_",
            Self::LessOrEqual => "_<=_",
            Self::Greater => "_>_",
            Self::GreaterOrEqual => "_>=_",
            Self::In => "@in",
        }
    }
}

/// The macros that walk a list or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
    TransformList,
    TransformMap,
}

/// A macro over a list, a map or an optional.
#[derive(Debug, Clone)]
pub(crate) struct Comprehension {
    pub(crate) walk: Walk,
    pub(crate) range: Expr,
    /// One variable (the item or key), or two (index or key, and value).
    pub(crate) variables: Vec<SmolStr>,
    /// Which items count; of `map` and the transforms.
    pub(crate) filter: Option<Expr>,
    pub(crate) body: Expr,
}

/// An object that an expression makes.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// The type's name, with its dots.
    pub(crate) name: SmolStr,
    /// Names and values, each with whether the value is an optional that may be left out.
    pub(crate) fields: Vec<(SmolStr, Expr, bool)>,
}

/// `optMap` or `optFlatMap`.
#[derive(Debug, Clone)]
pub(crate) struct OptionalMap {
    pub(crate) target: Expr,
    pub(crate) variable: SmolStr,
    pub(crate) body: Expr,
    pub(crate) is_flat: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Literal(Literal),
    Ident(SmolStr),
    Select {
        operand: Box<Expr>,
        field: SmolStr,
        is_optional: bool,
    },
    Has {
        operand: Box<Expr>,
        field: SmolStr,
    },
    Index {
        operand: Box<Expr>,
        index: Box<Expr>,
        is_optional: bool,
    },
    Call {
        function: SmolStr,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Conditional(Box<[Expr; 3]>),
    Binary(Binary, Box<[Expr; 2]>),
    /// Items, each with whether it is an optional that may be left out.
    List(Vec<(Expr, bool)>),
    /// Keys and values, each pair with whether the value is an optional that may be left out.
    Map(Vec<(Expr, Expr, bool)>),
    /// An object of a named type: `Object.spec{replicas: 3}`.
    Made(Box<Made>),
    Comprehension(Box<Comprehension>),
    OptionalMap(Box<OptionalMap>),
}
