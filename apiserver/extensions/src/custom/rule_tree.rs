//! The validation rules of a schema, compiled, in a tree beside the schema; and running them over an object.

use super::values::{counterpart, equal};
use mainstay_apiserver_cel::{Environment, EvalError, Meter, Program, Shape, Type, Val, Variable};
use mainstay_apiserver_machinery::structural::{Additional, RuleText, Structural};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::Value;
use smol_str::SmolStr;
use std::sync::Arc;

use crate::crd::valid_field_path;

/// What one rule may cost, in units of the language.
const CALL_COST_MAX: u64 = 1_000_000;
/// What all rules of one object may cost.
const OBJECT_COST_MAX: u64 = 10_000_000;
/// Bytes of a message that an expression makes.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// One rule, ready to run.
#[derive(Debug)]
pub struct CompiledRule {
    /// Its text.
    pub text: RuleText,
    /// The program, or why there is none.
    pub program: Result<Program, String>,
    /// The program that makes the message, or why there is none; `None` when the rule has no such expression.
    pub message: Option<Result<Program, String>>,
    /// Whether it compares with the old value.
    pub uses_old: bool,
    field_path: String,
}

/// The rules at and below one schema.
#[derive(Debug)]
pub struct RuleTree {
    /// The rules of the schema itself.
    pub rules: Vec<CompiledRule>,
    /// What the rules see.
    pub shape: Arc<Shape>,
    type_name: &'static str,
    shows_value: bool,
    properties: Vec<(SmolStr, RuleTree)>,
    items: Option<Box<RuleTree>>,
    additional: Option<Box<RuleTree>>,
}

impl CompiledRule {
    /// Compiles one rule over values of `shape`.
    pub fn new(text: &RuleText, schema: &Structural, shape: &Arc<Shape>) -> Self {
        let old = Variable {
            is_optional: text.optional_old_self == Some(true),
            ..Variable::new("oldSelf", Arc::clone(shape))
        };
        let environment = Environment::of(vec![Variable::new("self", Arc::clone(shape)), old]);
        let program = match environment.compile(&text.rule) {
            Ok(program) if matches!(program.result(), Type::Bool) => Ok(program),
            Ok(_) => Err("cel expression must evaluate to a bool".to_owned()),
            Err(error) => Err(format!("compilation failed: {error}")),
        };
        let message = (!text.message_expression.is_empty()).then(|| {
            match environment.compile(&text.message_expression) {
                Ok(program) if matches!(program.result(), Type::Str) => Ok(program),
                Ok(_) => Err("messageExpression must evaluate to a string".to_owned()),
                Err(error) => Err(format!("messageExpression compilation failed: {error}")),
            }
        });
        let uses_old = program.as_ref().is_ok_and(|program| program.uses("oldSelf"));
        let field_path =
            valid_field_path(&text.field_path, schema, true).map(|(shown, _)| shown).unwrap_or_default();
        Self { text: text.clone(), program, message, uses_old, field_path }
    }
}

impl RuleTree {
    /// The rules of `schema`; `is_root` for the schema of a whole object. None where there are no rules.
    pub fn of(schema: &Structural, is_root: bool) -> Option<Self> {
        if !schema.has_rules {
            return None;
        }
        let shape = Arc::new(Shape::of_schema(schema, is_root));
        let rules = schema.rules.iter().map(|text| CompiledRule::new(text, schema, &shape)).collect();
        let type_name = schema.schema_type.as_str();
        Some(Self {
            rules,
            shape,
            type_name,
            shows_value: !matches!(type_name, "object" | "array"),
            properties: schema
                .properties
                .iter()
                .filter_map(|(name, property)| Some((name.clone(), Self::of(property, false)?)))
                .collect(),
            items: schema.items.as_deref().and_then(|items| Self::of(items, false)).map(Box::new),
            additional: match &schema.additional {
                Additional::Schema(all) => Self::of(all, false).map(Box::new),
                Additional::None | Additional::Bool(_) => None,
            },
        })
    }

    /// The rules of a member.
    pub fn member(&self, name: &str) -> Option<&Self> {
        let own = self.properties.iter().find(|(known, _)| known == name).map(|(_, tree)| tree);
        own.or(self.additional.as_deref())
    }
}

/// A run of rules over one object.
struct Runner<'e> {
    /// What may still be spent; none when it is used up.
    left: Option<u64>,
    errors: &'e mut ErrorList,
}

/// Holds `value` against the rules; `old` is what it takes the place of.
pub fn check_rules(
    tree: &RuleTree,
    schema: &Structural,
    value: &Value,
    old: Option<&Value>,
    (path, errors): (&Path, &mut ErrorList),
) {
    let mut runner = Runner { left: Some(OBJECT_COST_MAX), errors };
    runner.value(tree, schema, (value, old), path);
}

impl Runner<'_> {
    fn value(
        &mut self,
        tree: &RuleTree,
        schema: &Structural,
        (value, old): (&Value, Option<&Value>),
        path: &Path,
    ) {
        if value.is_null() || self.left.is_none() {
            return;
        }
        for rule in &tree.rules {
            self.rule(tree, rule, (value, old), path);
            if self.left.is_none() {
                return;
            }
        }
        match value {
            Value::Map(map) => {
                for (name, member) in map {
                    let (Some(below), Some(within)) = (tree.member(name), schema.member(name)) else {
                        continue;
                    };
                    let old = old.and_then(|old| old.get(name));
                    let is_named = schema.property(name).is_some();
                    let path = if is_named { path.child(name) } else { path.key(name) };
                    self.value(below, within, (member, old), &path);
                }
            }
            Value::List(items) => {
                let (Some(below), Some(within)) = (tree.items.as_deref(), schema.items.as_deref()) else {
                    return;
                };
                let before = old.and_then(Value::as_list).unwrap_or_default();
                for (at, item) in items.iter().enumerate() {
                    let old = counterpart(item, before, schema);
                    self.value(below, within, (item, old), &path.index(at));
                }
            }
            _ => {}
        }
    }

    fn out_of_budget(&mut self, tree: &RuleTree, path: &Path) {
        self.left = None;
        self.errors.invalid(
            path,
            tree.type_name,
            "validation failed due to running out of cost budget, no further validation rules will be run",
        );
    }

    fn rule(
        &mut self,
        tree: &RuleTree,
        rule: &CompiledRule,
        (value, old): (&Value, Option<&Value>),
        path: &Path,
    ) {
        let is_optional = rule.text.optional_old_self == Some(true);
        if rule.uses_old && old.is_none() && !is_optional {
            return;
        }
        // What did not change is not held against the rules again.
        if !rule.uses_old && old.is_some_and(|old| equal(old, value)) {
            return;
        }
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                return self.errors.invalid(path, tree.type_name, &format!("rule compile error: {why}"));
            }
        };
        let Some(left) = self.left else { return };
        let mut meter = Meter::new(left.min(CALL_COST_MAX));
        let result = names(tree, value, old, is_optional).and_then(|names| program.run(names, &mut meter));
        self.left = left.checked_sub(meter.spent()).filter(|left| *left > 0);
        let shown = shown(&rule.text);
        match result {
            Ok(Val::Bool(true)) => {}
            Ok(_) => self.broken(tree, rule, (value, old), path),
            Err(EvalError::Budget) if left < CALL_COST_MAX => self.out_of_budget(tree, path),
            Err(EvalError::Budget) => {
                self.left = None;
                let text = format!(
                    "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to \
                     call cost exceeds limit for rule: {shown}"
                );
                self.errors.invalid(path, tree.type_name, &text);
            }
            Err(EvalError::Failed(why)) if why.starts_with("no such overload") => {
                let text = format!(
                    "'{why}': call arguments did not match a supported operator, function or macro signature for rule: \
                     {shown}"
                );
                self.errors.invalid(path, tree.type_name, &text);
            }
            Err(EvalError::Failed(why)) => {
                self.errors.invalid(path, tree.type_name, &format!("{why} evaluating rule: {shown}"));
            }
        }
    }

    /// Reports a rule that does not hold.
    fn broken(
        &mut self,
        tree: &RuleTree,
        rule: &CompiledRule,
        values: (&Value, Option<&Value>),
        path: &Path,
    ) {
        let made = self.message(tree, rule, values);
        let detail = made.unwrap_or_else(|| {
            if rule.text.message.is_empty() {
                format!("failed rule: {}", shown(&rule.text))
            } else {
                rule.text.message.trim().to_owned()
            }
        });
        let path = if rule.field_path.is_empty() { path.clone() } else { path.child(&rule.field_path) };
        match rule.text.reason.as_str() {
            "FieldValueForbidden" => self.errors.forbidden(&path, &detail),
            "FieldValueRequired" => self.errors.required(&path, &detail),
            "FieldValueDuplicate" if tree.shows_value => self.errors.duplicate(&path, values.0.clone()),
            "FieldValueDuplicate" => self.errors.duplicate(&path, tree.type_name),
            _ if tree.shows_value => self.errors.invalid(&path, values.0.clone(), &detail),
            _ => self.errors.invalid_unshown(&path, &detail),
        }
    }

    /// What the rule's message expression says, if it has one and that gives one line of text.
    fn message(
        &mut self,
        tree: &RuleTree,
        rule: &CompiledRule,
        (value, old): (&Value, Option<&Value>),
    ) -> Option<String> {
        let program = rule.message.as_ref()?.as_ref().ok()?;
        let left = self.left?;
        let mut meter = Meter::new(left.min(CALL_COST_MAX));
        let is_optional = rule.text.optional_old_self == Some(true);
        let result = names(tree, value, old, is_optional).and_then(|names| program.run(names, &mut meter));
        self.left = left.checked_sub(meter.spent()).filter(|left| *left > 0);
        let Ok(Val::Str(text)) = result else { return None };
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
        fits.then(|| text.to_owned())
    }
}

/// The values of `self` and `oldSelf`.
fn names<'a>(
    tree: &'a RuleTree,
    value: &'a Value,
    old: Option<&'a Value>,
    is_optional: bool,
) -> Result<Vec<(&'a str, Val<'a>)>, EvalError> {
    let mut names = vec![("self", Val::new(value, Some(&*tree.shape))?)];
    let old = old.map(|old| Val::new(old, Some(&*tree.shape))).transpose()?;
    match (old, is_optional) {
        (old, true) => names.push(("oldSelf", Val::Optional(old.map(Arc::new)))),
        (Some(old), false) => names.push(("oldSelf", old)),
        (None, false) => {}
    }
    Ok(names)
}

/// The rule as errors name it: by its message, or else its text.
fn shown(text: &RuleText) -> &str {
    if text.message.is_empty() { text.rule.trim() } else { text.message.trim() }
}
