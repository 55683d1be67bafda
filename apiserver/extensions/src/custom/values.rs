//! Values against a schema: types, bounds, patterns, enums, required fields and the logical words. The texts are
//! upstream's, which go-openapi made.

use super::formats::fits_format;
use mainstay_apiserver_machinery::structural::{Additional, Checks, ListType, SchemaType, Structural};
use mainstay_apiserver_machinery::validation::{ErrorList, Path};
use mainstay_apiserver_machinery::value::{Map, Value};
use regex::Regex;
use smol_str::SmolStr;
use std::collections::HashMap;

/// Bytes that one compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The compiled patterns of a schema, by their text.
#[derive(Debug, Default)]
pub struct Patterns {
    compiled: HashMap<SmolStr, Regex>,
}

impl Patterns {
    /// Compiles one pattern; RE2's syntax, in linear time and bounded memory.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn compile(text: &str) -> Result<Regex, String> {
        regex::RegexBuilder::new(text)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| error.to_string().lines().last().unwrap_or("invalid pattern").trim().to_owned())
    }

    /// Compiles every pattern of `schema`.
    ///
    /// # Errors
    /// A pattern that does not compile, and why.
    pub fn of(schema: &Structural) -> Result<Self, (SmolStr, String)> {
        let mut patterns = Self::default();
        patterns.add(schema)?;
        Ok(patterns)
    }

    fn add(&mut self, schema: &Structural) -> Result<(), (SmolStr, String)> {
        let checks = &schema.checks;
        if !checks.pattern.is_empty() && !self.compiled.contains_key(&checks.pattern) {
            let regex = Self::compile(&checks.pattern).map_err(|why| (checks.pattern.clone(), why))?;
            self.compiled.insert(checks.pattern.clone(), regex);
        }
        let below = schema.properties.iter().map(|(_, property)| property);
        let below = below.chain(schema.items.as_deref());
        let below = below.chain(match &schema.additional {
            Additional::Schema(all) => Some(&**all),
            _ => None,
        });
        let logical =
            checks.all_of.iter().chain(&checks.any_of).chain(&checks.one_of).chain(checks.not.as_deref());
        for schema in below.chain(logical) {
            self.add(schema)?;
        }
        Ok(())
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        self.compiled.get(pattern).is_none_or(|regex| regex.is_match(text))
    }
}

/// One fault; `place` of errors about the logical words is empty, as upstream has it.
struct Fault {
    place: String,
    kind: FaultKind,
}

enum FaultKind {
    Required,
    NotSupported { value: Value, supported: Vec<String> },
    TooLong { max: usize },
    TooMany { actual: usize, max: usize },
    Invalid { value: Value, text: String },
}

/// A schema to hold values against.
#[derive(Debug, Clone, Copy)]
pub struct ValueCheck<'a> {
    /// The schema.
    pub schema: &'a Structural,
    /// Its compiled patterns.
    pub patterns: &'a Patterns,
}

/// Checks `value`; `path` is where it stands.
pub fn check_value(check: &ValueCheck<'_>, value: &Value, path: &Path, errors: &mut ErrorList) {
    check_update(check, value, None, path, errors);
}

/// Checks a value that takes the place of `old`: what did not change is not held against the schema again, so that objects
/// that a changed schema no longer allows can still be updated (upstream's ratcheting).
pub fn check_update(
    check: &ValueCheck<'_>,
    value: &Value,
    old: Option<&Value>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let mut checker = Checker { patterns: check.patterns, faults: Vec::new() };
    checker.value(value, old, check.schema, "");
    for fault in checker.faults {
        let place = if fault.place.is_empty() { path.clone() } else { path.child(&fault.place) };
        match fault.kind {
            FaultKind::Required => errors.required(&place, ""),
            FaultKind::NotSupported { value, supported } => {
                let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
                errors.not_supported(&place, value, &supported);
            }
            FaultKind::TooLong { max } => errors.too_long(&place, max),
            FaultKind::TooMany { actual, max } => errors.too_many(&place, actual, max),
            FaultKind::Invalid { value, text } => errors.invalid(&place, value, &text),
        }
    }
}

struct Checker<'a> {
    patterns: &'a Patterns,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    fn add(&mut self, place: &str, kind: FaultKind) {
        // More faults than this say nothing new; the list of errors is bounded too.
        if self.faults.len() < 1000 {
            self.faults.push(Fault { place: place.to_owned(), kind });
        }
    }

    /// A fault whose text begins with the place and `in body`.
    fn invalid(&mut self, place: &str, value: &Value, text: &str) {
        self.add(place, FaultKind::Invalid { value: value.clone(), text: format!("{place} in body {text}") });
    }

    fn value(&mut self, value: &Value, old: Option<&Value>, schema: &Structural, place: &str) {
        if old.is_some_and(|old| equal(old, value)) || !self.has_type(value, schema, place) || value.is_null()
        {
            return;
        }
        let checks = &schema.checks;
        match value {
            Value::Str(text) => self.text(text, checks, place),
            Value::Int(_) | Value::Float(_) => self.number(value, checks, place),
            Value::List(items) => self.list((value, old), items, schema, place),
            Value::Map(map) => self.map((value, old), map, schema, place),
            Value::Bool(_) | Value::Null => {}
        }
        self.allowed(value, checks, place);
        self.logic(value, checks, place);
    }

    fn has_type(&mut self, value: &Value, schema: &Structural, place: &str) -> bool {
        let fits = match (schema.schema_type, value) {
            (_, Value::Null) => schema.nullable || is_untyped(schema),
            (SchemaType::Integer, Value::Float(number)) => number.fract() == 0.0,
            (SchemaType::Any, Value::Bool(_) | Value::Float(_) | Value::List(_) | Value::Map(_)) => {
                !schema.is_int_or_string
            }
            (SchemaType::Any, _)
            | (SchemaType::Object, Value::Map(_))
            | (SchemaType::Array, Value::List(_))
            | (SchemaType::String, Value::Str(_))
            | (SchemaType::Boolean, Value::Bool(_))
            | (SchemaType::Number, Value::Int(_) | Value::Float(_))
            | (SchemaType::Integer, Value::Int(_)) => true,
            _ => false,
        };
        if !fits {
            let wanted = if schema.is_int_or_string { "integer,string" } else { schema.schema_type.as_str() };
            let found = type_name(value);
            self.invalid(place, &Value::from(found), &format!("must be of type {wanted}: \"{found}\""));
        }
        fits
    }

    fn text(&mut self, text: &SmolStr, checks: &Checks, place: &str) {
        let value = Value::Str(text.clone());
        let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(max) = checks.max_length.filter(|max| length() > *max) {
            self.add(place, FaultKind::TooLong { max: usize::try_from(max).unwrap_or_default() });
        } else if let Some(min) = checks.min_length.filter(|min| length() < *min) {
            self.invalid(place, &value, &format!("should be at least {min} chars long"));
        } else if !checks.pattern.is_empty() && !self.patterns.matches(&checks.pattern, text) {
            self.invalid(place, &value, &format!("should match '{}'", checks.pattern));
        }
        if !fits_format(&checks.format, text) {
            let shown = mainstay_apiserver_machinery::validation::quote(text);
            self.invalid(place, &value, &format!("must be of type {}: {shown}", checks.format));
        }
    }

    fn number(&mut self, value: &Value, checks: &Checks, place: &str) {
        let Some(number) = value.as_f64() else { return };
        if let Some(factor) = checks.multiple_of.filter(|factor| !is_multiple(number, *factor)) {
            self.invalid(place, value, &format!("should be a multiple of {factor}"));
        }
        if let Some(max) = checks.maximum {
            if checks.exclusive_maximum && number >= max {
                self.invalid(place, value, &format!("should be less than {max}"));
            } else if number > max {
                self.invalid(place, value, &format!("should be less than or equal to {max}"));
            }
        }
        if let Some(min) = checks.minimum {
            if checks.exclusive_minimum && number <= min {
                self.invalid(place, value, &format!("should be greater than {min}"));
            } else if number < min {
                self.invalid(place, value, &format!("should be greater than or equal to {min}"));
            }
        }
        let bits32 = i32::MIN.into()..=i32::MAX.into();
        if checks.format == "int32" && value.as_i64().is_some_and(|whole| !bits32.contains(&whole)) {
            let text = "Checked value must be of type integer with format int32".to_owned();
            self.add(place, FaultKind::Invalid { value: value.clone(), text });
        }
    }

    fn list(
        &mut self,
        (value, old): (&Value, Option<&Value>),
        items: &[Value],
        schema: &Structural,
        place: &str,
    ) {
        if let Some(within) = schema.items.as_deref() {
            let before = old.and_then(Value::as_list).unwrap_or_default();
            for (at, item) in items.iter().enumerate() {
                let old = counterpart(item, before, schema);
                self.value(item, old, within, &format!("{place}[{at}]"));
            }
        }
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(max) = schema.checks.max_items.filter(|max| length > *max) {
            let max = usize::try_from(max).unwrap_or_default();
            self.add(place, FaultKind::TooMany { actual: items.len(), max });
        }
        if let Some(min) = schema.checks.min_items.filter(|min| length < *min) {
            self.invalid(place, value, &format!("should have at least {min} items"));
        }
    }

    fn map(&mut self, (value, old): (&Value, Option<&Value>), map: &Map, schema: &Structural, place: &str) {
        let checks = &schema.checks;
        let length = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(min) = checks.min_properties.filter(|min| length < *min) {
            return self.invalid(place, value, &format!("should have at least {min} properties"));
        }
        if let Some(max) = checks.max_properties.filter(|max| length > *max) {
            let max = usize::try_from(max).unwrap_or_default();
            return self.add(place, FaultKind::TooMany { actual: map.len(), max });
        }
        for name in &checks.required {
            if !map.contains_key(name) {
                self.add(&below(place, name), FaultKind::Required);
            }
        }
        for (name, member) in map {
            if let Some(within) = schema.member(name) {
                let old = old.and_then(|old| old.get(name));
                self.value(member, old, within, &below(place, name));
            }
        }
    }

    fn allowed(&mut self, value: &Value, checks: &Checks, place: &str) {
        if checks.allowed.is_empty() || checks.allowed.iter().any(|allowed| equal(allowed, value)) {
            return;
        }
        let text = |allowed: &Value| match allowed.as_str() {
            Some(text) => text.to_owned(),
            None => mainstay_apiserver_machinery::json::to_string(allowed),
        };
        let supported = checks.allowed.iter().map(text).collect();
        self.add(place, FaultKind::NotSupported { value: value.clone(), supported });
    }

    /// What `value` violates of one schema.
    fn faults_of(&self, value: &Value, schema: &Structural, place: &str) -> Vec<Fault> {
        let mut checker = Checker { patterns: self.patterns, faults: Vec::new() };
        checker.value(value, None, schema, place);
        checker.faults
    }

    /// A fault of a logical word, which upstream reports without a place.
    fn logical(&mut self, text: String) {
        self.add("", FaultKind::Invalid { value: Value::from(""), text });
    }

    fn logic(&mut self, value: &Value, checks: &Checks, place: &str) {
        if !checks.any_of.is_empty()
            && let Some(best) = self.best_of(value, &checks.any_of, place)
        {
            self.logical(format!("\"{place}\" must validate at least one schema (anyOf)"));
            self.faults.extend(best);
        }
        if !checks.one_of.is_empty() {
            let valid =
                checks.one_of.iter().filter(|one| self.faults_of(value, one, place).is_empty()).count();
            if valid > 1 {
                let text = format!(
                    "\"{place}\" must validate one and only one schema (oneOf). Found {valid} valid alternatives"
                );
                self.logical(text);
            } else if valid == 0 {
                let best = self.best_of(value, &checks.one_of, place).unwrap_or_default();
                let text =
                    format!("\"{place}\" must validate one and only one schema (oneOf). Found none valid");
                self.logical(text);
                self.faults.extend(best);
            }
        }
        let failed: Vec<Vec<Fault>> = checks
            .all_of
            .iter()
            .map(|one| self.faults_of(value, one, place))
            .filter(|faults| !faults.is_empty())
            .collect();
        if !failed.is_empty() {
            let none = if failed.len() == checks.all_of.len() { ". None validated" } else { "" };
            self.faults.extend(failed.into_iter().flatten());
            self.logical(format!("\"{place}\" must validate all the schemas (allOf){none}"));
        }
        if let Some(not) = &checks.not
            && self.faults_of(value, not, place).is_empty()
        {
            self.logical(format!("\"{place}\" must not validate the schema (not)"));
        }
    }

    /// The faults of the alternative that comes closest; `None` when one holds.
    fn best_of(&self, value: &Value, schemas: &[Structural], place: &str) -> Option<Vec<Fault>> {
        let mut best: Option<Vec<Fault>> = None;
        for schema in schemas {
            let faults = self.faults_of(value, schema, place);
            if faults.is_empty() {
                return None;
            }
            if best.as_ref().is_none_or(|best| faults.len() < best.len()) {
                best = Some(faults);
            }
        }
        best
    }
}

/// Whether a schema says nothing of the type: one below a logical word, or one of anything.
fn is_untyped(schema: &Structural) -> bool {
    schema.schema_type == SchemaType::Any && !schema.is_int_or_string
}

/// The item that `item` takes the place of: the one with the same keys.
pub(crate) fn counterpart<'v>(item: &Value, before: &'v [Value], schema: &Structural) -> Option<&'v Value> {
    if schema.list_type() != ListType::Map || before.is_empty() {
        return None;
    }
    before.iter().find(|old| schema.list_map_keys.iter().all(|key| old.get(key) == item.get(key)))
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(_) => "number",
        Value::Str(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    }
}

fn is_multiple(number: f64, factor: f64) -> bool {
    if factor == 0.0 {
        return true;
    }
    let ratio = number / factor;
    (ratio - ratio.round()).abs() < 1e-9
}

/// Equality as JSON has it: whole numbers equal the same number written as a fraction.
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) if one != other => {
            one.as_f64() == other.as_f64() && !matches!((one, other), (Value::Int(_), Value::Int(_)))
        }
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one.iter().zip(other.iter()).all(|((k, one), (l, other))| k == l && equal(one, other))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_apiserver_machinery::structural::parse;
    use mainstay_apiserver_machinery::value;

    fn faults(schema: &Value, value: &Value) -> Vec<String> {
        let schema = parse(schema).unwrap();
        let mut errors = ErrorList::new();
        let patterns = Patterns::of(&schema).unwrap();
        check_value(&ValueCheck { schema: &schema, patterns: &patterns }, value, &Path::root(), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_restriction_has_upstreams_words() {
        let schema = value!({"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "maxLength": 3, "pattern": "^[a-z]+$"},
            "count": {"type": "integer", "minimum": 1, "maximum": 10},
            "mode": {"type": "string", "enum": ["Fast", "Slow"]},
            "ports": {"type": "array", "maxItems": 1, "items": {"x-kubernetes-int-or-string": true}},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "ip": {"type": "string", "format": "ipv4"},
        }});
        for (object, want) in [
            (value!({}), "name: Required value"),
            (value!({"name": "abcd"}), "name: Too long: may not be more than 3 bytes"),
            (value!({"name": "A"}), "name: Invalid value: \"A\": name in body should match '^[a-z]+$'"),
            (
                value!({"name": "a", "count": "x"}),
                "count: Invalid value: \"string\": count in body must be of type integer: \"string\"",
            ),
            (
                value!({"name": "a", "count": 11}),
                "count: Invalid value: 11: count in body should be less than or equal to 10",
            ),
            (
                value!({"name": "a", "mode": "Odd"}),
                "mode: Unsupported value: \"Odd\": supported values: \"Fast\", \"Slow\"",
            ),
            (value!({"name": "a", "ports": [1, "b"]}), "ports: Too many: 2: must have at most 1 item"),
            (
                value!({"name": "a", "ports": [true]}),
                "ports[0]: Invalid value: \"boolean\": ports[0] in body must be of type integer,string: \"boolean\"",
            ),
            (
                value!({"name": "a", "tags": {"k": null}}),
                "tags.k: Invalid value: \"null\": tags.k in body must be of type string: \"null\"",
            ),
            (
                value!({"name": "a", "ip": "x"}),
                "ip: Invalid value: \"x\": ip in body must be of type ipv4: \"x\"",
            ),
        ] {
            assert_eq!(faults(&schema, &object), [want], "{object:?}");
        }
        assert!(
            faults(&schema, &value!({"name": "a", "count": 3, "mode": "Fast", "ports": ["http"]})).is_empty()
        );
    }

    #[test]
    fn logical_words_are_reported_without_a_place() {
        let schema = value!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}}});
        assert_eq!(
            faults(&schema, &value!({"spec": {}})),
            [
                "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
                "spec.a: Required value",
            ]
        );
        assert_eq!(
            faults(&schema, &value!({"spec": {"a": "x", "b": "y"}})),
            [
                "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
            ]
        );
        assert!(faults(&schema, &value!({"spec": {"a": "x"}})).is_empty());
    }

    #[test]
    fn what_did_not_change_is_not_checked_again() {
        let schema = parse(&value!({"type": "object", "properties": {
            "a": {"type": "integer", "maximum": 1}, "b": {"type": "string"},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "n": {"type": "integer", "maximum": 1}}}},
        }}))
        .unwrap();
        let patterns = Patterns::of(&schema).unwrap();
        let old = value!({"a": 5, "b": "x", "l": [{"k": "p", "n": 9}]});
        let new = value!({"a": 5, "b": "y", "l": [{"k": "q", "n": 9}, {"k": "p", "n": 9}]});
        let mut errors = ErrorList::new();
        let check = ValueCheck { schema: &schema, patterns: &patterns };
        check_update(&check, &new, Some(&old), &Path::root(), &mut errors);
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["l[0].n"]);
    }

    #[test]
    fn hostile_patterns_do_not_compile() {
        assert!(Patterns::compile("(a{1000}){1000}").is_err());
        assert!(Patterns::compile("(a+)+$").is_ok());
    }
}
