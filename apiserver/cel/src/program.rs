//! Expressions that are ready to run.

use crate::ast::{Expr, Literal, Node};
use crate::check::{Known, TypeFault, check, uses};
use crate::cost::cost_max;
use crate::eval::{EvalError, Meter, Run};
use crate::functions::{Patterns, regex};
use crate::parser::parse;
use crate::shape::Shape;
use crate::types::Type;
use crate::value::Val;
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use std::fmt::Write as _;
use std::sync::Arc;

/// A name that expressions may use.
#[derive(Debug, Clone)]
pub struct Variable {
    /// The name.
    pub name: SmolStr,
    /// What it is.
    pub shape: Arc<Shape>,
    /// Whether it is an optional of that.
    pub is_optional: bool,
}

/// The names that expressions may use.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The names.
    pub variables: Vec<Variable>,
    /// Whether expressions may make objects: `Object{…}`, `Object.spec{…}`, `JSONPatch{…}`.
    pub makes_objects: bool,
    /// The types of the fields of the name `variables`; any field of any type where it is none.
    pub fields: Option<Vec<(SmolStr, Type)>>,
}

/// Why a text is no program; the text is upstream's: each fault with the line that it is in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(String);

/// A checked expression.
#[derive(Debug, Clone)]
pub struct Program {
    expr: Expr,
    cost_max: u64,
    patterns: Patterns,
}

impl Environment {
    /// An environment of one name.
    pub fn of(variables: Vec<Variable>) -> Self {
        Self { variables, ..Self::default() }
    }

    /// The same environment, whose expressions may make objects.
    #[must_use]
    pub fn making_objects(mut self) -> Self {
        self.makes_objects = true;
        self
    }

    /// The same environment, whose name `variables` has these fields.
    #[must_use]
    pub fn with_fields(mut self, fields: Vec<(SmolStr, Type)>) -> Self {
        self.fields = Some(fields);
        self
    }

    /// Reads and checks an expression.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        let mut expr =
            parse(text).map_err(|error| told(text, &[TypeFault { at: error.at, reason: error.reason }]))?;
        let known = self.variables.iter().map(|variable| {
            let ty = variable.shape.ty();
            let ty = if variable.is_optional { Type::optional(ty) } else { ty };
            Known { name: variable.name.clone(), ty, place: Some(Arc::clone(&variable.shape)) }
        });
        let faults = check(&mut expr, known.collect(), self);
        if !faults.is_empty() {
            return Err(told(text, &faults));
        }
        let mut patterns = Patterns::new();
        let mut faults = Vec::new();
        compile_patterns(&expr, &mut patterns, &mut faults);
        if !faults.is_empty() {
            return Err(told(text, &faults));
        }
        let cost_max = cost_max(&expr);
        Ok(Program { expr, cost_max, patterns })
    }
}

impl Variable {
    /// A name of this shape.
    pub fn new(name: &str, shape: Arc<Shape>) -> Self {
        Self { name: name.into(), shape, is_optional: false }
    }
}

impl Program {
    /// The type of the result.
    pub fn result(&self) -> &Type {
        &self.expr.ty
    }

    /// What a run can cost at most.
    pub const fn cost_max(&self) -> u64 {
        self.cost_max
    }

    /// Whether the expression reads a name.
    pub fn uses(&self, name: &str) -> bool {
        uses(&self.expr, name)
    }

    /// Runs the expression with these values for its names.
    ///
    /// # Errors
    /// [`EvalError`].
    pub fn run<'a>(
        &'a self,
        names: Vec<(&'a str, Val<'a>)>,
        meter: &mut Meter,
    ) -> Result<Val<'a>, EvalError> {
        Run { names, patterns: &self.patterns, meter }.value(&self.expr)
    }
}

impl<'a> Val<'a> {
    /// A value of an object tree, as `shape` says.
    ///
    /// # Errors
    /// A text that has not the format which the schema states.
    pub fn new(value: &'a Value, shape: Option<&'a Shape>) -> Result<Self, EvalError> {
        Self::of_tree(value, shape).map_err(EvalError::Failed)
    }
}

/// Compiles the regular expressions that stand in the text, so that a run does not.
fn compile_patterns(expr: &Expr, patterns: &mut Patterns, faults: &mut Vec<TypeFault>) {
    if let Node::Call { function, target, args } = &expr.node
        && matches!(function.as_str(), "matches" | "find" | "findAll")
        && let Some(pattern) = args.get(usize::from(target.is_none()))
        && let Node::Literal(Literal::Str(text)) = &pattern.node
    {
        match regex(text) {
            Ok(regex) => drop(patterns.insert(text.clone(), regex)),
            Err(error) => faults.push(TypeFault { at: pattern.at, reason: error.to_string() }),
        }
    }
    expr.each_part(&mut |part| compile_patterns(part, patterns, faults));
}

/// Upstream's way to show faults: place, line, and a pointer below the column.
fn told(text: &str, faults: &[TypeFault]) -> CompileError {
    let mut out = String::new();
    for fault in faults {
        let before = text.get(..fault.at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let (line, column) = (before.matches('\n').count() + 1, before.len() - line_start);
        let shown = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        if !out.is_empty() {
            out.push('\n');
        }
        // Writing to a String cannot fail.
        let written = write!(
            out,
            "ERROR: <input>:{line}:{}: {}\n | {shown}\n | {}^",
            column + 1,
            fault.reason,
            ".".repeat(column.min(shown.len()))
        );
        debug_assert!(written.is_ok());
    }
    CompileError(out)
}
